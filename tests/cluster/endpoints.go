package main

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// publish tells the cluster of the node's addresses: as InternalIPs after the one that the API server itself
// uses, and as the endpoints of the Service kubernetes.
func (n *nodeNetwork) publish(ctx context.Context) error {
	addresses := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	for _, ip := range nodeIPs() {
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"addresses": addresses}})
	if err != nil {
		return err
	}
	_, err = n.options.client.CoreV1().Nodes().
		Patch(ctx, n.options.node, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("telling the node's addresses: %w", err)
	}
	slices := n.options.client.DiscoveryV1().EndpointSlices(corev1.NamespaceDefault)
	for name, ip := range map[string]string{"kubernetes": nodeIPv4, "kubernetes-ipv6": nodeIPv6} {
		_, err := slices.Create(ctx, endpointSlice(name, ip), metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making the endpoints of the API server: %w", err)
		}
	}
	return nil
}

func endpointSlice(name, ip string) *discovery.EndpointSlice {
	family := discovery.AddressTypeIPv4
	if isIPv6(ip) {
		family = discovery.AddressTypeIPv6
	}
	return &discovery.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: corev1.NamespaceDefault,
			Labels: map[string]string{discovery.LabelServiceName: "kubernetes"},
		},
		AddressType: family,
		Endpoints: []discovery.Endpoint{{
			Addresses:  []string{ip},
			Conditions: discovery.EndpointConditions{Ready: ptr.To(true)},
		}},
		Ports: []discovery.EndpointPort{{
			Name: ptr.To("https"), Port: ptr.To[int32](endpointPort), Protocol: ptr.To(corev1.ProtocolTCP),
		}},
	}
}
