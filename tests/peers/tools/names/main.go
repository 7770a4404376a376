// names is a name server on loopback that knows 127.0.0.1 by every name under one domain, and nothing else.
//
//	names -addr 127.0.0.77:53 -domain registry.test
package main

import (
	"flag"
	"log"
	"net"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// reply answers a query: the address, no address of that kind (NOERROR, nothing in it), or no such name.
func reply(query []byte, domain string) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(strings.ToLower(question.Name.String()), ".")
	known := name == domain || strings.HasSuffix(name, "."+domain)
	answer := dnsmessage.Message{
		Header: dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired},
	}
	answer.Questions = []dnsmessage.Question{question}
	switch {
	case !known:
		answer.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	return answer.Pack()
}

func main() {
	address := flag.String("addr", "127.0.0.77:53", "where to listen, UDP")
	domain := flag.String("domain", "registry.test", "the domain it knows")
	flag.Parse()
	connection, err := net.ListenPacket("udp", *address)
	if err != nil {
		log.Fatal(err)
	}
	buffer := make([]byte, 4096)
	for {
		length, from, err := connection.ReadFrom(buffer)
		if err != nil {
			log.Fatal(err)
		}
		answer, err := reply(buffer[:length], *domain)
		if err != nil {
			log.Print(err)
			continue
		}
		if _, err := connection.WriteTo(answer, from); err != nil {
			log.Print(err)
		}
	}
}
