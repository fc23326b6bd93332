package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// container is one process of this machine and those that were executed beside it.
type container struct {
	id, dir string
	spec    corev1.Container
	env     []string
	log     *containerLog

	// Absent where the process shares the machine's namespaces.
	isolation *isolation

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

func startOnMachine(pod *corev1.Pod, spec corev1.Container, dir string) (*container, error) {
	env, err := environment(pod, spec, dir)
	if err != nil {
		return nil, err
	}
	return startContainer(pod, spec, dir, env, nil)
}

func startContainer(pod *corev1.Pod, spec corev1.Container, dir string, env []string, isolation *isolation) (*container, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	log, err := createLog(dir + ".log")
	if err != nil {
		return nil, err
	}
	c := &container{
		id: containerID(pod.UID, spec.Name), dir: dir, spec: spec, env: env, log: log, isolation: isolation,
		stdout: newFanout(log.stream("stdout")),
		stderr: newFanout(log.stream("stderr")),
		exited: make(chan struct{}),
		groups: map[int]struct{}{},
	}
	cmd, drained, err := c.startFirst()
	if err != nil {
		log.Close()
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

// startFirst starts the container's first process; drained is done when all its output has been read.
func (c *container) startFirst() (cmd *exec.Cmd, drained *sync.WaitGroup, err error) {
	cmd = c.plainCommand(c.argv())
	if c.isolation == nil {
		drained, err = c.startMain(cmd)
		return cmd, drained, err
	}
	isolated, err := c.isolation.begin(cmd)
	if err != nil {
		return nil, nil, err
	}
	drained, err = c.startMain(cmd)
	if waited := isolated(); err == nil && waited != nil {
		c.isolation.end()
		cmd.Wait()
		drained.Wait()
		err = fmt.Errorf("%w: %s", waited, tail(c.log.Name(), 3))
	}
	return cmd, drained, err
}

func (c *container) startMain(cmd *exec.Cmd) (drained *sync.WaitGroup, err error) {
	drained = &sync.WaitGroup{}
	if c.spec.TTY {
		if c.terminal, err = c.startInTerminal(cmd); err != nil {
			return nil, err
		}
		if c.spec.Stdin {
			c.stdin = c.terminal
		}
		drained.Go(func() { io.Copy(c.stdout, c.terminal) })
		return drained, nil
	}
	if c.spec.Stdin {
		if c.stdin, err = cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	if cmd.Stdout, err = pump(c.stdout, drained); err != nil {
		return nil, err
	}
	if cmd.Stderr, err = pump(c.stderr, drained); err != nil {
		return nil, err
	}
	defer cmd.Stdout.(*os.File).Close()
	defer cmd.Stderr.(*os.File).Close()
	return drained, c.start(cmd)
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
	if c.isolation != nil {
		if err := c.isolation.end(); err != nil {
			klog.ErrorS(err, "Removing a container's cgroup")
		}
	}
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
