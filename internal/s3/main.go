// Command s3 runs a command beside a real S3 server: versitygw, on a free port of this machine, over a new directory. The command
// finds the server's address in KIMBERLITE_TEST_S3, credentials where every client of S3 looks for them, and those of a
// user with no rights yet in KIMBERLITE_TEST_S3_USER and KIMBERLITE_TEST_S3_USER_SECRET. When the
// command ends the server is stopped, and what it stored is gone.
//
//	go run ./internal/s3 bin/versitygw go test ./io/object -run OnS3
//
// It fails where the command does, where the server does not start or has ended by itself, and where the command has made
// no bucket, since then it has tested nothing.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience is how long the server may take to listen, and to stop.
const patience = 20 * time.Second

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: s3 versitygw command [argument…]")
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "s3:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, gateway string, command []string) error {
	dir, err := os.MkdirTemp("", "kimberlite-s3-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	key, secret := rand.Text(), rand.Text()
	s, err := start(ctx, gateway, dir, key, secret)
	if err != nil {
		return err
	}
	user, password := strings.ToLower(rand.Text()), rand.Text()
	admin := exec.CommandContext(ctx, gateway, "admin", "--endpoint-url", "http://"+s.address, "create-user", "--access", user, "--secret", password, "--role", "user")
	admin.Env = append(os.Environ(), "ADMIN_ACCESS_KEY_ID="+key, "ADMIN_SECRET_ACCESS_KEY="+secret)
	if out, err := admin.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("make a user: %w: %s", err, out), s.stop())
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "KIMBERLITE_TEST_S3="+s.address, "AWS_ACCESS_KEY_ID="+key, "AWS_SECRET_ACCESS_KEY="+secret, "AWS_SESSION_TOKEN=",
		"KIMBERLITE_TEST_S3_USER="+user, "KIMBERLITE_TEST_S3_USER_SECRET="+password)
	return errors.Join(cmd.Run(), used(s.data), s.stop())
}

// used fails where nobody has made a bucket, which is a folder.
func used(data string) error {
	buckets, err := os.ReadDir(data)
	if err == nil && len(buckets) == 0 {
		err = errors.New("the command has not used the server")
	}
	return err
}

// server is a running versitygw.
type server struct {
	cmd     *exec.Cmd
	address string
	data    string        // the directory of its buckets
	ended   chan struct{} // closed when it has
	log     string
}

// start starts the server and waits until it listens.
func start(ctx context.Context, gateway, dir, key, secret string) (*server, error) {
	address, err := free()
	if err != nil {
		return nil, err
	}
	data, versions, users := filepath.Join(dir, "data"), filepath.Join(dir, "versions"), filepath.Join(dir, "users")
	if err := errors.Join(os.Mkdir(data, 0o700), os.Mkdir(versions, 0o700), os.Mkdir(users, 0o700)); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &server{address: address, data: data, ended: make(chan struct{}), log: log.Name()}
	s.cmd = exec.CommandContext(ctx, gateway, "--port", address, "--quiet", "--keep-alive", "--iam-dir", users, "posix", "--versioning-dir", versions, data)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+key, "ROOT_SECRET_ACCESS_KEY="+secret)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", gateway, err)
	}
	go func() {
		s.cmd.Wait() // how it ends is told by its log
		close(s.ended)
	}()
	return s, s.listening()
}

// free returns an address of this machine that nobody listens on.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// listening waits until the server takes connections.
func (s *server) listening() error {
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	over := time.After(patience)
	for {
		if c, err := net.Dial("tcp", s.address); err == nil {
			return c.Close()
		}
		select {
		case <-ticks.C:
		case <-s.ended:
			return s.complain("ended before it listened")
		case <-over:
			return errors.Join(s.complain("does not listen"), s.cmd.Process.Kill())
		}
	}
}

// stop ends the server, which must not have ended before.
func (s *server) stop() error {
	select {
	case <-s.ended:
		return s.complain("ended by itself")
	default:
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-time.After(patience):
		return s.cmd.Process.Kill()
	}
}

func (s *server) complain(what string) error {
	log, err := os.ReadFile(s.log)
	return errors.Join(fmt.Errorf("the S3 server %s; it said:\n%s", what, log), err)
}
