package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync makes a file's content and size durable, without its times. The file stays open until it is done, whoever
// closes it meanwhile: else the number could by then be another file's, and the wrong one be synced.
func datasync(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var synced error
	err = conn.Control(func(fd uintptr) {
		synced = unix.Fdatasync(int(fd))
		for synced == unix.EINTR {
			synced = unix.Fdatasync(int(fd))
		}
	})
	if err != nil {
		return err
	}
	return synced
}
