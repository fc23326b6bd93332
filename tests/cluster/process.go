package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// exec runs command beside the container's process.
func (c *container) exec(command []string, in io.Reader, out, errs io.Writer) error {
	cmd := c.command(command)
	cmd.Stdout, cmd.Stderr = out, errs
	if in != nil {
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		// Not by cmd: Wait would wait for the client to close its end.
		go func() {
			io.Copy(stdin, in)
			stdin.Close()
		}()
	}
	if err := c.start(cmd); err != nil {
		return err
	}
	defer c.forget(cmd)
	return executed(cmd.Wait())
}

func (c *container) execInTerminal(command []string, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize) error {
	cmd := c.command(command)
	terminal, err := c.startInTerminal(cmd)
	if err != nil {
		return err
	}
	defer c.forget(cmd)
	go resizeTerminal(terminal, resize)
	if in != nil {
		go io.Copy(terminal, in)
	}
	if out == nil {
		out = io.Discard
	}
	// Ends when no process holds the terminal any more, or when the client has left.
	io.Copy(out, terminal)
	terminal.Close()
	return executed(cmd.Wait())
}

// command is for what runs beside the container's first process.
func (c *container) command(argv []string) *exec.Cmd {
	cmd := c.plainCommand(argv)
	if c.isolation != nil {
		c.isolation.beside(cmd)
	}
	return cmd
}

func (c *container) plainCommand(argv []string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = c.dir, c.env
	if c.spec.WorkingDir != "" {
		cmd.Dir = filepath.Clean(c.spec.WorkingDir)
	}
	// Also a SIGKILL of this process ends it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (c *container) start(cmd *exec.Cmd) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	err := cmd.Start()
	if err == nil {
		c.groups[cmd.Process.Pid] = struct{}{}
	}
	return err
}

func (c *container) startInTerminal(cmd *exec.Cmd) (*os.File, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	session := *cmd.SysProcAttr
	session.Setpgid, session.Setsid, session.Setctty = false, true, true
	terminal, err := pty.StartWithAttrs(cmd, nil, &session)
	if err == nil {
		c.groups[cmd.Process.Pid] = struct{}{}
	}
	return terminal, err
}

// forget is for what has been waited for and left nothing in the background: its id may be given to others.
func (c *container) forget(cmd *exec.Cmd) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if syscall.Kill(-cmd.Process.Pid, 0) != nil {
		delete(c.groups, cmd.Process.Pid)
	}
}

func (c *container) kill(signal syscall.Signal) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for group := range c.groups {
		syscall.Kill(-group, signal)
	}
}

// executed is how runtimes tell the streaming server about an exit code.
func executed(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: err, Code: exitCode(err)}
	}
	return err
}

// exitCode counts the end by a signal as shells and runc do.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return 255
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

func resizeTerminal(terminal *os.File, sizes <-chan remotecommand.TerminalSize) {
	for size := range sizes {
		pty.Setsize(terminal, &pty.Winsize{Rows: size.Height, Cols: size.Width})
	}
}
