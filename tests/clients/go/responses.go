package main

import (
	"maps"
	"net/http"
	"sync"
)

// responses notes what kind of answers the server gave.
type responses struct {
	mutex       sync.Mutex
	contentType string
	protocols   map[string]int
}

func (r *responses) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		if err == nil {
			r.mutex.Lock()
			defer r.mutex.Unlock()
			r.contentType = response.Header.Get("Content-Type")
			r.protocols[response.Proto]++
		}
		return response, err
	})
}

// lastContentType is that of the latest answer.
func (r *responses) lastContentType() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.contentType
}

// byProtocol counts the answers so far.
func (r *responses) byProtocol() map[string]int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return maps.Clone(r.protocols)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
