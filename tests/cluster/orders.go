package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// restartOrder is the one line on stdin that means something.
const restartOrder = "restart kube-apiserver"

// answer is the line of JSON on stdout that says an order was carried out, or why not.
type answer struct {
	Done  string `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
}

// obey carries out the lines of stdin one by one until stop or the end of a component.
func (p *controlPlane) obey(stop <-chan struct{}, orders <-chan string, client *http.Client) error {
	for {
		select {
		case <-stop:
			return nil
		case c := <-p.died:
			// One that was replaced ended as it was told to.
			if p.isRunning(c) {
				return c.failure("ended with " + c.cmd.ProcessState.String())
			}
		case order := <-orders:
			if err := p.carryOut(order, stop, client); err != nil {
				return err
			}
		}
	}
}

func (p *controlPlane) carryOut(order string, stop <-chan struct{}, client *http.Client) error {
	if order != restartOrder {
		return say(answer{Error: fmt.Sprintf("unknown order %q; the one to give is %q", order, restartOrder)})
	}
	if err := p.restart("kube-apiserver", p.apiserverArgs()); err != nil {
		return err
	}
	if err := p.await(stop, client, "/readyz"); err != nil {
		return err
	}
	return say(answer{Done: order})
}

// restart ends one component and starts it again with the same files and ports.
func (p *controlPlane) restart(name string, args []string) error {
	for i, c := range p.running {
		if c.name != name {
			continue
		}
		c.end()
		again, err := start(p.dir, name, args...)
		if err != nil {
			return err
		}
		p.running[i] = again
		p.watch(again)
	}
	return nil
}

func (p *controlPlane) isRunning(c *component) bool {
	for _, other := range p.running {
		if other == c {
			return true
		}
	}
	return false
}

// listen reads orders from stdin; its end, SIGTERM and SIGINT close stop.
func listen() (stop <-chan struct{}, orders <-chan string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	ended, lines, stopped := make(chan struct{}), make(chan string), make(chan struct{})
	go func() {
		scanner := bufio.NewScanner(os.Stdin)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	go func() {
		select {
		case <-signals:
		case <-ended:
		}
		close(stopped)
	}()
	return stopped, lines
}

func say(line any) error { return json.NewEncoder(os.Stdout).Encode(line) }
