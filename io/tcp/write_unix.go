//go:build unix

package tcp

import "syscall"

// tryWrite writes as much of p as the socket takes at once and returns how much that is. Errors are left to the next
// write.
func (c *Conn) tryWrite(p []byte) (n int) {
	if len(p) == 0 {
		return 0
	}
	err := c.raw.Write(func(fd uintptr) bool {
		n, _ = syscall.Write(int(fd), p)
		return true
	})
	if err != nil || n < 0 {
		return 0
	}
	return n
}
