package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// forward accepts at address in the network namespace of pid, and joins each connection to port on loopback
// of this process's network. It ends with the process.
func forward(pid int, address string, port int) error {
	var listener net.Listener
	err := inside(netnsPath(pid), func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		return err
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go connect(client, port)
		}
	}()
	return nil
}

func connect(client net.Conn, port int) {
	defer client.Close()
	server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(client, server)
	client.(*net.TCPConn).CloseWrite()
	<-done
}

// inside runs act on a thread in the network namespace at path. Sockets stay in the namespace they were made in.
//
// The thread comes back instead of ending: with the thread that started a child the child ends, see
// [component.start].
func inside(path string, act func() error) error {
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	other, err := os.Open(path)
	if err != nil {
		return err
	}
	defer other.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setns(int(other.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering %s: %w", path, err)
	}
	acted := act()
	if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
		panic(fmt.Errorf("leaving %s: %w", path, err)) // nothing may run on this thread any more
	}
	return acted
}
