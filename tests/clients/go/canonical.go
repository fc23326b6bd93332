package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// canonical is object as JSON without what differs from one run to the next: identities, times, and what
// controllers write whenever they come to it.
func canonical(object runtime.Object) (map[string]any, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	if items, list := fields["items"].([]any); list {
		delete(fields["metadata"].(map[string]any), "resourceVersion")
		for _, item := range items {
			strip(item.(map[string]any))
		}
		return fields, nil
	}
	strip(fields)
	return fields, nil
}

func strip(fields map[string]any) {
	delete(fields, "status")
	metadata, ok := fields["metadata"].(map[string]any)
	if !ok {
		return
	}
	for _, name := range []string{"uid", "resourceVersion", "creationTimestamp"} {
		delete(metadata, name)
	}
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		delete(annotations, "deployment.kubernetes.io/revision")
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
	}
	stripManagedFields(metadata)
}

// stripManagedFields keeps what this program is said to manage.
func stripManagedFields(metadata map[string]any) {
	managers, _ := metadata["managedFields"].([]any)
	var own []any
	for _, manager := range managers {
		entry := manager.(map[string]any)
		delete(entry, "time")
		if entry["manager"] == name {
			own = append(own, entry)
		}
	}
	delete(metadata, "managedFields")
	if len(own) > 0 {
		metadata["managedFields"] = own
	}
}

// identity is what events are told apart by.
func identity(object metav1.Object) map[string]any {
	return map[string]any{
		"name":            object.GetName(),
		"namespace":       object.GetNamespace(),
		"resourceVersion": object.GetResourceVersion(),
	}
}
