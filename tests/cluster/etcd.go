package main

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// etcd serves one member to clients of its own CA until it is told to end.
func etcd(args []string) error {
	flags := flag.NewFlagSet("etcd", flag.ExitOnError)
	dataDir := flags.String("data-dir", "", "")
	client := flags.String("client-url", "", "")
	peer := flags.String("peer-url", "", "")
	identity := transport.TLSInfo{ClientCertAuth: true}
	flags.StringVar(&identity.TrustedCAFile, "ca-file", "", "")
	flags.StringVar(&identity.CertFile, "cert-file", "", "")
	flags.StringVar(&identity.KeyFile, "key-file", "", "")
	flags.Parse(args)

	config, err := etcdConfig(*dataDir, *client, *peer, identity)
	if err != nil {
		return err
	}
	server, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("starting etcd: %w", err)
	}
	defer server.Close()
	return waitForEnd(server)
}

func etcdConfig(dataDir, client, peer string, identity transport.TLSInfo) (*embed.Config, error) {
	clientURL, err := url.Parse(client)
	if err != nil {
		return nil, err
	}
	peerURL, err := url.Parse(peer)
	if err != nil {
		return nil, err
	}
	config := embed.NewConfig()
	config.Dir = dataDir
	config.LogLevel = "warn"
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.ClientTLSInfo, config.PeerTLSInfo = identity, identity
	// The gateway dials etcd with the serving certificate; nobody here speaks JSON to it.
	config.EnableGRPCGateway = false
	// The data dies with the cluster.
	config.UnsafeNoFsync = true
	return config, nil
}

func waitForEnd(server *embed.Etcd) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-ended:
		return nil
	case err := <-server.Err():
		return fmt.Errorf("serving etcd: %w", err)
	}
}
