package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// component is one child process of this binary; its output is its log.
type component struct {
	name   string
	log    string
	cmd    *exec.Cmd
	exited chan struct{}
}

// start must be called on the main thread, see init.
func start(dir, name string, args ...string) (*component, error) {
	log := filepath.Join(dir, name+".log")
	// One that is started again goes on in the same log.
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	cmd := exec.Command("/proc/self/exe", append([]string{name}, args...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = output, output
	// Also a SIGKILL of this process ends the child.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	c := &component{name: name, log: log, cmd: cmd, exited: make(chan struct{})}
	go func() {
		cmd.Wait()
		close(c.exited)
	}()
	return c, nil
}

// end asks first: a component that is asked releases its connections to the others.
func (c *component) end() {
	c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(2 * time.Second):
		c.cmd.Process.Kill()
		<-c.exited
	}
}

// failure says what went wrong, with the end of the component's log.
func (c *component) failure(what string) error {
	return fmt.Errorf("%s %s; the end of %s:\n%s", c.name, what, c.log, tail(c.log, 20))
}

func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
