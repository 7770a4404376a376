package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// What the log says of a request: what that of nginx does, too.
type request struct {
	Service    string  `json:"service"`
	End        float64 `json:"end"`
	Seconds    float64 `json:"seconds"`
	Protocol   string  `json:"protocol"`
	Method     string  `json:"method"`
	URL        string  `json:"url"`
	Status     int     `json:"status"`
	Connection int64   `json:"connection"`
	Agent      string  `json:"agent"`
}

// The number of the connection that came last, to any service.
var connections atomic.Int64

// The key under which a request's context has the number of its connection.
type numbered struct{}

// A response writer that remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// The Host header is passed on as it came, so that a registry's Location headers point back here.
func proxy(target string) *httputil.ReverseProxy {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	if socket, ok := strings.CutPrefix(target, "unix:"); ok {
		target = "socket.invalid"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target})
	proxy.Transport = transport
	return proxy
}

func serveHTTP(listener net.Listener, behind service) error {
	proxy := proxy(behind.target)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, recorded := time.Now(), &recorder{ResponseWriter: w, status: 200}
		time.Sleep(behind.delay)
		proxy.ServeHTTP(recorded, r)
		end := time.Now()
		behind.lines.write(request{
			behind.name, float64(end.UnixMicro()) / 1e6, end.Sub(start).Seconds(), r.Proto, r.Method, r.URL.RequestURI(),
			recorded.status, r.Context().Value(numbered{}).(int64), r.UserAgent(),
		})
	})
	server := &http.Server{Handler: handler, ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, numbered{}, connections.Add(1))
	}}
	return server.Serve(listener)
}
