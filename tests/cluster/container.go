package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// container is one process of this machine and those that were executed beside it.
type container struct {
	id, dir string
	spec    corev1.Container
	env     []string
	log     *containerLog

	started  time.Time
	stdin    io.WriteCloser
	terminal *os.File
	stdout   *fanout
	stderr   *fanout
	// Closed when the process has ended and everything it said is in the log.
	exited   chan struct{}
	exitCode int
	ended    time.Time

	// Each leads a process group.
	mutex  sync.Mutex
	groups map[int]struct{}
}

func containerID(pod types.UID, name string) string { return string(pod) + "-" + name }

func startContainer(pod *corev1.Pod, spec corev1.Container, dir string) (*container, error) {
	env, err := environment(pod, spec, dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	log, err := createLog(dir + ".log")
	if err != nil {
		return nil, err
	}
	c := &container{
		id: containerID(pod.UID, spec.Name), dir: dir, spec: spec, env: env, log: log,
		stdout: newFanout(log.stream("stdout")),
		stderr: newFanout(log.stream("stderr")),
		exited: make(chan struct{}),
		groups: map[int]struct{}{},
	}
	cmd, drained, err := c.startMain()
	if err != nil {
		return nil, err
	}
	c.started = time.Now()
	go c.follow(cmd, drained)
	return c, nil
}

// environment is what the process sees: of this machine the PATH, of the pod what needs no look-up.
func environment(pod *corev1.Pod, spec corev1.Container, dir string) ([]string, error) {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "HOSTNAME=" + pod.Name}
	if len(spec.EnvFrom) > 0 {
		return nil, errors.New("envFrom is not supported by this node")
	}
	for _, variable := range spec.Env {
		if variable.ValueFrom != nil {
			return nil, fmt.Errorf("valueFrom of variable %s is not supported by this node", variable.Name)
		}
		env = append(env, variable.Name+"="+variable.Value)
	}
	return env, nil
}

// argv is the command of the spec. Without one the image's own would run; here that waits for its end.
func (c *container) argv() []string {
	if argv := append(append([]string{}, c.spec.Command...), c.spec.Args...); len(argv) > 0 {
		return argv
	}
	return []string{"sleep", "infinity"}
}

// startMain starts the process; drained is done when all its output has been read.
func (c *container) startMain() (cmd *exec.Cmd, drained *sync.WaitGroup, err error) {
	cmd, drained = c.command(c.argv()), &sync.WaitGroup{}
	if c.spec.TTY {
		if c.terminal, err = c.startInTerminal(cmd); err != nil {
			return nil, nil, err
		}
		if c.spec.Stdin {
			c.stdin = c.terminal
		}
		drained.Go(func() { io.Copy(c.stdout, c.terminal) })
		return cmd, drained, nil
	}
	if c.spec.Stdin {
		if c.stdin, err = cmd.StdinPipe(); err != nil {
			return nil, nil, err
		}
	}
	if cmd.Stdout, err = pump(c.stdout, drained); err != nil {
		return nil, nil, err
	}
	if cmd.Stderr, err = pump(c.stderr, drained); err != nil {
		return nil, nil, err
	}
	defer cmd.Stdout.(*os.File).Close()
	defer cmd.Stderr.(*os.File).Close()
	return cmd, drained, c.start(cmd)
}

// pump is an end of a pipe whose other end is read until the last process that has it ends.
func pump(to io.Writer, drained *sync.WaitGroup) (*os.File, error) {
	read, write, err := os.Pipe()
	if err == nil {
		drained.Go(func() {
			io.Copy(to, read)
			read.Close()
		})
	}
	return write, err
}

func (c *container) follow(cmd *exec.Cmd, drained *sync.WaitGroup) {
	err := cmd.Wait()
	// As with the first process of a PID namespace, all others end with it.
	c.kill(syscall.SIGKILL)
	drained.Wait()
	if c.terminal != nil {
		c.terminal.Close()
	}
	c.log.close()
	c.exitCode, c.ended = exitCode(err), time.Now()
	close(c.exited)
}

func (c *container) hasExited() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

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

func (c *container) command(argv []string) *exec.Cmd {
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
	session := &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	terminal, err := pty.StartWithAttrs(cmd, nil, session)
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

// stop asks, and after grace insists.
func (c *container) stop(grace time.Duration) {
	c.kill(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(grace):
		c.kill(syscall.SIGKILL)
		<-c.exited
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
