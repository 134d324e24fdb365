package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// build makes the binary that is killed.
func build(dir string) (string, error) {
	binary := filepath.Join(dir, "kimberlite")
	out, err := exec.Command("go", "build", "-o", binary, "./cmd/kimberlite").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return binary, nil
}

// server is one life of the server.
type server struct {
	cmd   *exec.Cmd
	out   bytes.Buffer // what it says
	file  string       // that names its address
	ended chan error
}

func launch(binary, dir string) (*server, error) {
	s := &server{file: filepath.Join(dir, "ready"), ended: make(chan error, 1)}
	if err := os.RemoveAll(s.file); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(binary, "dev", "--data", data(dir), "--listen", "127.0.0.1:0", "--admin", "", "--ready-file", s.file)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.ended <- s.cmd.Wait() }()
	return s, nil
}

// ready waits until the server takes requests and returns its address.
func (s *server) ready() (string, error) {
	for deadline := time.After(30 * time.Second); ; {
		if addr, err := os.ReadFile(s.file); err == nil && len(bytes.TrimSpace(addr)) > 0 {
			return string(bytes.TrimSpace(addr)), nil
		}
		select {
		case err := <-s.ended:
			return "", fmt.Errorf("the server did not start: %w\n%s", err, s.out.String())
		case <-deadline:
			s.kill()
			return "", fmt.Errorf("the server is not ready after 30 s\n%s", s.out.String())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// kill ends the server as kill -9 does, and waits until it is gone.
func (s *server) kill() {
	s.cmd.Process.Kill() // it may be gone already
	<-s.ended
}
