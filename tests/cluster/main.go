// Command sallyport-test-cluster runs a real Kubernetes control plane on loopback: etcd, kube-apiserver
// and the controllers that matter, and a node that runs pods as local processes, from one binary. Nothing
// in it survives the process: every start is a fresh cluster.
//
//	sallyport-test-cluster up --dir DIR [--audit-policy FILE]
//
// Once it has printed where it is, the line `restart kube-apiserver` on its stdin does that; a line on its
// stdout says when the API server is back.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"

	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// A parent-death signal belongs to the thread that started the child. Main keeps the first thread,
// which lives as long as the process.
func init() { runtime.LockOSThread() }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: sallyport-test-cluster up --dir DIR [--audit-policy FILE]")
	}
	// Component flags are global to a process, so `up` runs this binary once per component.
	switch command, rest := args[0], args[1:]; command {
	case "up":
		return up(rest)
	case "etcd":
		return etcd(rest)
	case "node":
		return node(rest)
	case "kube-apiserver":
		component := apiserver.NewAPIServerCommand()
		component.SetArgs(rest)
		os.Exit(cli.Run(component))
	case "kube-controller-manager":
		component := controllermanager.NewControllerManagerCommand()
		component.SetArgs(rest)
		os.Exit(cli.Run(component))
	default:
		return fmt.Errorf("unknown command %q; the one to use is up", command)
	}
	return nil
}

func up(args []string) error {
	flags := flag.NewFlagSet("up", flag.ExitOnError)
	dir := flags.String("dir", "", "where keys, logs and data go; what an earlier run left there is replaced")
	auditPolicy := flags.String("audit-policy", "", "an audit.k8s.io/v1 Policy for the API server; Metadata for every call where absent")
	flags.Parse(args)
	if *dir == "" {
		return errors.New("--dir is required")
	}
	plane, err := newControlPlane(*dir, *auditPolicy)
	if err != nil {
		return err
	}
	return plane.run()
}
