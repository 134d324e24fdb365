//go:build unix

package host

import "syscall"

// openFiles returns how many files, connections included, the process may have open.
func openFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return manyFiles
	}
	return int(min(uint64(l.Cur), manyFiles))
}
