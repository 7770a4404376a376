package main

import (
	"errors"
	"log"
	"net"
	"sync"
	"time"
)

// What the log says of a connection.
type connection struct {
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

// Passes what comes from one connection on to the other, in time, and its end: every byte arrives `delay` later than it was
// sent, however many are under way.
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

// The kernel accepts at once, which no far server does: so the first bytes wait for a round trip more, as TCP's own handshake
// takes.
func connect(near *net.TCPConn, behind service) {
	defer near.Close()
	time.Sleep(2 * behind.delay)
	dialled, err := net.Dial("tcp", behind.target)
	if err != nil {
		log.Print(err)
		return
	}
	far := dialled.(*net.TCPConn)
	defer far.Close()
	var both sync.WaitGroup
	both.Go(func() { pass(near, far, behind.delay) })
	both.Go(func() { pass(far, near, behind.delay) })
	both.Wait()
}

func serveTCP(listener net.Listener, behind service) error {
	for {
		accepted, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			log.Print(err)
			continue
		}
		behind.lines.write(connection{time.Now().UTC().Format(time.RFC3339Nano), behind.name})
		go connect(accepted.(*net.TCPConn), behind)
	}
}
