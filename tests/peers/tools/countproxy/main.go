// countproxy stands in front of loopback servers and, where it is told to, writes one JSON line per HTTP request or, with
// -tcp, per TCP connection.
//
//	countproxy [-tcp] [-log FILE] [-delay 50ms] NAME=LISTEN=TARGET ...      (LISTEN is host:port; TARGET too, or unix:PATH for HTTP)
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// A server behind this one, and what is done on the way to it.
type service struct {
	name   string
	target string
	delay  time.Duration
	lines  *lines
}

// The log: one value a line, of all services.
type lines struct {
	turn    sync.Mutex
	encoder *json.Encoder
}

func (l *lines) write(line any) {
	l.turn.Lock()
	defer l.turn.Unlock()
	_ = l.encoder.Encode(line)
}

func main() {
	tcp := flag.Bool("tcp", false, "pass on connections, whatever is spoken, in place of HTTP requests")
	file := flag.String("log", "", "where the lines go; nowhere by default")
	delay := flag.Duration("delay", 0, "added to every request, as the way to a far server would; with -tcp to all bytes, in either direction")
	flag.Parse()
	var out io.Writer = io.Discard
	if *file != "" {
		opened, err := os.OpenFile(*file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			log.Fatal(err)
		}
		out = opened
	}
	written := &lines{encoder: json.NewEncoder(out)}
	serve := serveHTTP
	if *tcp {
		serve = serveTCP
	}
	done := make(chan error)
	for _, argument := range flag.Args() {
		part := strings.SplitN(argument, "=", 3)
		if len(part) != 3 {
			log.Fatalf("want NAME=LISTEN=TARGET, got %q", argument)
		}
		listener, err := net.Listen("tcp", part[1])
		if err != nil {
			log.Fatal(err)
		}
		behind := service{name: part[0], target: part[2], delay: *delay, lines: written}
		go func() { done <- serve(listener, behind) }()
	}
	log.Fatal(<-done)
}
