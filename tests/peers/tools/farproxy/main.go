// farproxy makes loopback TCP servers as far away as real ones, whatever is spoken with them, and writes one JSON line per
// connection where it is told to.
//
//	farproxy [-log FILE] [-delay 50ms] NAME=LISTEN=TARGET ...      (LISTEN and TARGET are host:port)
//
// Every byte arrives -delay later than it was sent, in either direction, however many are under way. The kernel accepts
// at once, which no far server does: so the first bytes wait for a round trip more, as TCP's own handshake takes.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// What a log says of a connection.
type entry struct {
	Time    string `json:"time"`
	Service string `json:"service"`
}

// Bytes under way, or the end of them.
type piece struct {
	due   time.Time
	bytes []byte
}

// So many pieces of 16 KiB may be under way in one direction: more than any buffer between two kernels.
const piecesMax = 1024

// Passes what comes from one connection on to the other, in time, and its end.
func pass(from, to *net.TCPConn, delay time.Duration) {
	pieces := make(chan piece, piecesMax)
	go func() {
		defer close(pieces)
		for {
			buffer := make([]byte, 16*1024)
			count, err := from.Read(buffer)
			due := time.Now().Add(delay)
			pieces <- piece{due, buffer[:count]}
			if err != nil {
				return
			}
		}
	}()
	for piece := range pieces {
		time.Sleep(time.Until(piece.due))
		if _, err := to.Write(piece.bytes); err != nil {
			// Whoever still sends learns that nobody listens.
			_ = from.CloseRead()
		}
	}
	_ = to.CloseWrite()
}

func serve(near *net.TCPConn, target string, delay time.Duration) {
	defer near.Close()
	time.Sleep(2 * delay)
	dialled, err := net.Dial("tcp", target)
	if err != nil {
		log.Print(err)
		return
	}
	far := dialled.(*net.TCPConn)
	defer far.Close()
	var both sync.WaitGroup
	both.Go(func() { pass(near, far, delay) })
	both.Go(func() { pass(far, near, delay) })
	both.Wait()
}

func main() {
	file := flag.String("log", "", "where the lines go; nowhere by default")
	delay := flag.Duration("delay", 0, "how much later everything arrives, in either direction")
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
	lines := json.NewEncoder(out)
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
		go func() {
			for {
				connection, err := listener.Accept()
				if errors.Is(err, net.ErrClosed) {
					done <- err
					return
				}
				if err != nil {
					log.Print(err)
					continue
				}
				turn.Lock()
				_ = lines.Encode(entry{time.Now().UTC().Format(time.RFC3339Nano), part[0]})
				turn.Unlock()
				go serve(connection.(*net.TCPConn), part[2], *delay)
			}
		}()
	}
	log.Fatal(<-done)
}
