package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	authentication "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/utils/ptr"
)

// volumes are the directories of one pod's volumes. They are written once: a pod here does not live as long
// as its tokens.
type volumes struct {
	client kubernetes.Interface
	pod    *corev1.Pod
	dir    string
	ips    []string
}

// make is repeated until it succeeds, as the kubelet does: what a volume is of may come later.
func (v volumes) make(ctx context.Context) (err error) {
	for _, volume := range v.pod.Spec.Volumes {
		path := v.path(volume.Name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := v.fill(ctx, path, volume); err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
	}
	return nil
}

func (v volumes) path(name string) string { return filepath.Join(v.dir, name) }

func (v volumes) fill(ctx context.Context, path string, volume corev1.Volume) error {
	switch {
	case volume.Projected != nil:
		for _, source := range volume.Projected.Sources {
			if err := v.project(ctx, path, source); err != nil {
				return err
			}
		}
		return nil
	case volume.ConfigMap != nil:
		source := volume.ConfigMap
		return v.configMap(ctx, path, source.Name, source.Items, source.Optional)
	case volume.Secret != nil:
		source := volume.Secret
		return v.secret(ctx, path, source.SecretName, source.Items, source.Optional)
	case volume.DownwardAPI != nil:
		return v.downwardAPI(path, volume.DownwardAPI.Items)
	case volume.EmptyDir != nil:
		return os.Chmod(path, 0o777)
	case volume.HostPath != nil:
		return hostPath(volume.HostPath)
	default:
		return errors.New("this kind of volume is not supported by this node")
	}
}

func (v volumes) project(ctx context.Context, path string, source corev1.VolumeProjection) error {
	switch {
	case source.ServiceAccountToken != nil:
		return v.token(ctx, path, source.ServiceAccountToken)
	case source.ConfigMap != nil:
		source := source.ConfigMap
		return v.configMap(ctx, path, source.Name, source.Items, source.Optional)
	case source.Secret != nil:
		source := source.Secret
		return v.secret(ctx, path, source.Name, source.Items, source.Optional)
	case source.DownwardAPI != nil:
		return v.downwardAPI(path, source.DownwardAPI.Items)
	default:
		return errors.New("this kind of projection is not supported by this node")
	}
}

// token asks for one bound to the pod, as the kubelet does.
func (v volumes) token(ctx context.Context, path string, source *corev1.ServiceAccountTokenProjection) error {
	request := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef: &authentication.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: v.pod.Name, UID: v.pod.UID,
		},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	answer, err := v.client.CoreV1().ServiceAccounts(v.pod.Namespace).
		CreateToken(ctx, v.pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return write(path, source.Path, []byte(answer.Status.Token))
}

func (v volumes) configMap(ctx context.Context, path, name string, items []corev1.KeyToPath, optional *bool) error {
	object, err := v.client.CoreV1().ConfigMaps(v.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return unless(optional, err)
	}
	data := maps.Clone(object.BinaryData)
	if data == nil {
		data = map[string][]byte{}
	}
	for key, value := range object.Data {
		data[key] = []byte(value)
	}
	return writeItems(path, data, items, optional)
}

func (v volumes) secret(ctx context.Context, path, name string, items []corev1.KeyToPath, optional *bool) error {
	object, err := v.client.CoreV1().Secrets(v.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return unless(optional, err)
	}
	return writeItems(path, object.Data, items, optional)
}

func unless(optional *bool, err error) error {
	if ptr.Deref(optional, false) {
		return nil
	}
	return err
}

func writeItems(path string, data map[string][]byte, items []corev1.KeyToPath, optional *bool) error {
	if items == nil {
		for _, key := range slices.Sorted(maps.Keys(data)) {
			items = append(items, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	for _, item := range items {
		value, found := data[item.Key]
		if !found {
			if err := unless(optional, fmt.Errorf("there is no key %s", item.Key)); err != nil {
				return err
			}
			continue
		}
		if err := write(path, item.Path, value); err != nil {
			return err
		}
	}
	return nil
}

func (v volumes) downwardAPI(path string, items []corev1.DownwardAPIVolumeFile) error {
	for _, item := range items {
		if item.FieldRef == nil {
			return errors.New("resourceFieldRef is not supported by this node")
		}
		value, err := field(v.pod, v.ips, item.FieldRef.FieldPath)
		if err != nil {
			return err
		}
		if err := write(path, item.Path, []byte(value)); err != nil {
			return err
		}
	}
	return nil
}

// field is what a fieldRef of the pod names.
func field(pod *corev1.Pod, ips []string, path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP":
		return ips[0], nil
	case "status.podIPs":
		return strings.Join(ips, ","), nil
	case "status.hostIP":
		return nodeIPv4, nil
	default:
		return fieldpath.ExtractFieldPathAsString(pod, path)
	}
}

// hostPath makes what the pod says may be missing.
func hostPath(source *corev1.HostPathVolumeSource) error {
	switch ptr.Deref(source.Type, corev1.HostPathUnset) {
	case corev1.HostPathDirectoryOrCreate:
		return os.MkdirAll(source.Path, 0o755)
	default:
		_, err := os.Stat(source.Path)
		return err
	}
}

func write(directory, name string, content []byte) error {
	path := filepath.Join(directory, filepath.Clean("/"+name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

// mounts are those of one container, and the hosts file that the kubelet gives every container.
func (v volumes) mounts(container corev1.Container) ([]mount, error) {
	hosts := filepath.Join(v.dir, "hosts~")
	if err := os.WriteFile(hosts, []byte(v.hosts()), 0o644); err != nil {
		return nil, err
	}
	mounts := []mount{{source: hosts, target: "/etc/hosts"}}
	for _, own := range container.VolumeMounts {
		mounts = append(mounts, mount{
			source:   filepath.Join(v.source(own.Name), own.SubPath),
			target:   own.MountPath,
			readOnly: own.ReadOnly,
		})
	}
	return mounts, nil
}

func (v volumes) source(name string) string {
	for _, volume := range v.pod.Spec.Volumes {
		if volume.Name == name && volume.HostPath != nil {
			return volume.HostPath.Path
		}
	}
	return v.path(name)
}

func (v volumes) hosts() string {
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost\n")
	for _, ip := range v.ips {
		fmt.Fprintf(&hosts, "%s\t%s\n", ip, v.pod.Name)
	}
	for _, alias := range v.pod.Spec.HostAliases {
		fmt.Fprintf(&hosts, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return hosts.String()
}
