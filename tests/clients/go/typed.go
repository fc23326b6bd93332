package main

import (
	"context"
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
)

// resource is what the typed clients of all resources have in common.
type resource[T runtime.Object, L runtime.Object] interface {
	Create(context.Context, T, metav1.CreateOptions) (T, error)
	Get(context.Context, string, metav1.GetOptions) (T, error)
	Update(context.Context, T, metav1.UpdateOptions) (T, error)
	Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (T, error)
	List(context.Context, metav1.ListOptions) (L, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// labels tell the objects here from others in lists.
var labels = map[string]string{"app": name}

// create makes one ConfigMap, whatever that takes.
func create(ctx context.Context, c *client, args []string) error {
	if len(args) != 1 {
		return errors.New("create takes one name")
	}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: args[0]}}
	if _, err := c.CoreV1().ConfigMaps(c.namespace).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	say(map[string]any{"protocols": c.responses.byProtocol()})
	return nil
}

// typed calls what programs call; a refusal is a result like any other.
func typed(ctx context.Context, c *client, _ []string) error {
	configMap := &corev1.ConfigMap{
		ObjectMeta: meta(), Data: map[string]string{"key": "value"}, BinaryData: map[string][]byte{"bytes": {0, 255}},
	}
	secret := &corev1.Secret{ObjectMeta: meta(), Data: map[string][]byte{"password": []byte("correct horse battery staple")}}
	return errors.Join(
		calls(ctx, c, "ConfigMap", c.CoreV1().ConfigMaps(c.namespace), configMap, func(object *corev1.ConfigMap) {
			object.Data["key"] = "updated"
		}),
		calls(ctx, c, "Secret", c.CoreV1().Secrets(c.namespace), secret, func(object *corev1.Secret) {
			object.Type = corev1.SecretTypeOpaque
			object.Data["added"] = []byte("later")
		}),
		calls(ctx, c, "Deployment", c.AppsV1().Deployments(c.namespace), deployment(), func(object *appsv1.Deployment) {
			object.Spec.Template.Spec.Containers[0].Image = "registry.invalid/web:2"
		}),
	)
}

func meta() metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Labels: labels} }

func deployment() *appsv1.Deployment {
	none := int32(0)
	container := corev1.Container{Name: "web", Image: "registry.invalid/web:1"}
	return &appsv1.Deployment{ObjectMeta: meta(), Spec: appsv1.DeploymentSpec{
		Replicas: &none,
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{container}},
		},
	}}
}

func calls[T runtime.Object, L runtime.Object](ctx context.Context, c *client, kind string, r resource[T, L], object T, change func(T)) error {
	var failures error
	result := func(call string, object runtime.Object, err error) {
		failures = errors.Join(failures, c.result(kind, call, object, err))
	}
	created, err := r.Create(ctx, object, metav1.CreateOptions{})
	result("create", created, err)
	again, err := r.Create(ctx, object, metav1.CreateOptions{})
	result("create again", again, err)
	got, err := r.Get(ctx, name, metav1.GetOptions{})
	result("get", got, err)
	updated, err := update(ctx, r, change)
	result("update", updated, err)
	label := []byte(`{"metadata":{"labels":{"patched":"yes"}}}`)
	for _, kind := range []types.PatchType{types.MergePatchType, types.StrategicMergePatchType} {
		patched, err := r.Patch(ctx, name, kind, label, metav1.PatchOptions{})
		result(string(kind), patched, err)
	}
	listed, err := r.List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
	result("list", listed, err)
	result("delete", nil, r.Delete(ctx, name, metav1.DeleteOptions{}))
	gone, err := r.Get(ctx, name, metav1.GetOptions{})
	result("get what is gone", gone, err)
	return failures
}

// update does as programs do: controllers write too.
func update[T runtime.Object, L runtime.Object](ctx context.Context, r resource[T, L], change func(T)) (updated T, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		object, err := r.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(object)
		updated, err = r.Update(ctx, object, metav1.UpdateOptions{})
		return err
	})
	return updated, err
}

// result prints what a call came to; only an answer that is no Status is a failure.
func (c *client) result(kind, call string, object runtime.Object, err error) error {
	line := map[string]any{"kind": kind, "call": call, "contentType": c.responses.lastContentType()}
	var refusal apierrors.APIStatus
	switch {
	case errors.As(err, &refusal):
		line["status"] = refusal.Status()
	case err != nil:
		return err
	case object != nil:
		if line["object"], err = canonical(object); err != nil {
			return err
		}
	}
	say(line)
	return nil
}
