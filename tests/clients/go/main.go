// Command sallyport-go-client does with client-go what Kubernetes programs do, and prints as lines of JSON
// what it saw, so that runs through a gateway and without one can be compared.
//
//	sallyport-go-client [--kubeconfig FILE] [--namespace NAME] COMMAND [ARGUMENT...]
//
//	create NAME            creates a ConfigMap: one line with the protocols of the answers
//	typed                  calls of typed clients, in protobuf: one line per call
//	informer               shared informers, until stdin ends or SIGTERM: one line per event, then the stores
//	watches COUNT          watches beside a churn: one line per watch
//	exec POD -- COMMAND    remotecommand by WebSocket or SPDY; ends with the command's exit code
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/exec"
)

// name is that of this program, and of what it creates.
const name = "sallyport-go-client"

// client is a cluster as one user of it, in one namespace.
type client struct {
	kubernetes.Interface
	config    *rest.Config
	namespace string
	responses *responses
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx, os.Args[1:])
	var exit exec.CodeExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.Code)
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(125)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "")
	namespace := flags.String("namespace", "default", "")
	flags.Parse(args)
	commands := map[string]func(context.Context, *client, []string) error{
		"create": create, "typed": typed, "informer": informer, "watches": watches, "exec": execute,
	}
	command, known := commands[flags.Arg(0)]
	if !known {
		return fmt.Errorf("unknown command %q; there are create, typed, informer, watches and exec", flags.Arg(0))
	}
	client, err := newClient(*kubeconfig, *namespace)
	if err != nil {
		return err
	}
	return command(ctx, client, flags.Args()[1:])
}

func newClient(kubeconfig, namespace string) (*client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	responses := &responses{protocols: map[string]int{}}
	config.UserAgent = name
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.QPS = -1
	config.Wrap(responses.wrap)
	clientset, err := kubernetes.NewForConfig(config)
	return &client{clientset, config, namespace, responses}, err
}

var printing sync.Mutex

// say prints one line of JSON.
func say(line any) {
	printing.Lock()
	defer printing.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		panic(err) // nobody reads any more
	}
}
