package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/embed"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	_ = embed.NewConfig
	switch os.Args[1] {
	case "kube-apiserver":
		c := apiserver.NewAPIServerCommand()
		c.SetArgs(os.Args[2:])
		c.Execute()
	case "kube-controller-manager":
		c := controllermanager.NewControllerManagerCommand()
		c.SetArgs(os.Args[2:])
		c.Execute()
	}
}
