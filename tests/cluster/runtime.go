package main

import (
	"context"
	"fmt"
	"io"
	"net"

	criapi "k8s.io/cri-api/pkg/apis"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// localRuntime is the container runtime behind the streaming server.
type localRuntime struct{ pods *pods }

func (r localRuntime) Exec(_ context.Context, id string, command []string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	container := r.pods.container(id)
	if container == nil || container.hasExited() {
		return fmt.Errorf("container %s is not running", id)
	}
	if tty {
		return container.execInTerminal(command, in, out, resize)
	}
	return container.exec(command, in, out, err)
}

func (r localRuntime) Attach(_ context.Context, id string, in io.Reader, out, err io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	container := r.pods.container(id)
	if container == nil || container.hasExited() {
		return fmt.Errorf("container %s is not running", id)
	}
	container.attach(in, out, err, resize)
	return nil
}

// PortForward joins stream and the port until the server has said everything.
func (r localRuntime) PortForward(_ context.Context, podUID string, port int32, stream io.ReadWriteCloser) error {
	netns, running := r.pods.netns(podUID)
	if !running {
		return fmt.Errorf("pod %s is not running", podUID)
	}
	connection, err := dialLoopback(netns, port)
	if err != nil {
		return err
	}
	defer connection.Close()
	go func() {
		io.Copy(connection, stream)
		connection.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, connection)
	return err
}

// dialLoopback is in the machine's own network where netns is empty.
func dialLoopback(netns string, port int32) (connection net.Conn, err error) {
	dial := func() (err error) {
		connection, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err
	}
	if netns == "" {
		err = dial()
	} else {
		err = inside(netns, dial)
	}
	return connection, err
}

// containerStates tells a reader that follows a log whether more may come.
type containerStates struct {
	// The reader asks for nothing else.
	criapi.RuntimeService
	pods *pods
}

func (s containerStates) ContainerStatus(_ context.Context, id string, _ bool) (*cri.ContainerStatusResponse, error) {
	state := cri.ContainerState_CONTAINER_EXITED
	if container := s.pods.container(id); container != nil && !container.hasExited() {
		state = cri.ContainerState_CONTAINER_RUNNING
	}
	return &cri.ContainerStatusResponse{Status: &cri.ContainerStatus{State: state}}, nil
}
