// countproxy stands in front of loopback HTTP servers and, where it is told to, writes one JSON line per request.
//
//	countproxy [-log FILE] [-delay 50ms] NAME=LISTEN=TARGET ...      (LISTEN is host:port; TARGET is host:port or unix:PATH)
//
// The Host header is passed on as it came, so that a registry's Location headers point back here.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What a log says of a request: what that of nginx does, too.
type entry struct {
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

func target(text string) *httputil.ReverseProxy {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	if socket, ok := strings.CutPrefix(text, "unix:"); ok {
		text = "socket.invalid"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: text})
	proxy.Transport = transport
	return proxy
}

func main() {
	file := flag.String("log", "", "where the lines go; nowhere by default")
	delay := flag.Duration("delay", 0, "added to every request, as the way to a far server would")
	flag.Parse()
	var out io.Writer = io.Discard
	if *file != "" {
		opened, err := os.OpenFile(*file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			log.Fatal(err)
		}
		out = opened
	}
	var turn sync.Mutex
	var connections atomic.Int64
	lines := json.NewEncoder(out)
	done := make(chan error)
	for _, argument := range flag.Args() {
		part := strings.SplitN(argument, "=", 3)
		if len(part) != 3 {
			log.Fatalf("want NAME=LISTEN=TARGET, got %q", argument)
		}
		proxy := target(part[2])
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start, recorded := time.Now(), &recorder{ResponseWriter: w, status: 200}
			time.Sleep(*delay)
			proxy.ServeHTTP(recorded, r)
			turn.Lock()
			defer turn.Unlock()
			end := time.Now()
			_ = lines.Encode(entry{
				part[0], float64(end.UnixMicro()) / 1e6, end.Sub(start).Seconds(), r.Proto, r.Method, r.URL.RequestURI(),
				recorded.status, r.Context().Value(numbered{}).(int64), r.UserAgent(),
			})
		})
		listener, err := net.Listen("tcp", part[1])
		if err != nil {
			log.Fatal(err)
		}
		server := &http.Server{Handler: handler, ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, numbered{}, connections.Add(1))
		}}
		go func() { done <- server.Serve(listener) }()
	}
	log.Fatal(<-done)
}
