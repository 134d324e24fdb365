package wire_test

import (
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A client's request, the server's answer, and the client's reading of it. The bytes between them travel in pieces, as
// they do on a socket.
func Example() {
	sent := wire.AppendRequest(nil, &wire.Request{
		ID:     7,
		Tenant: 42,
		Body:   &wire.AppendEvents{Stream: 1, Events: [][]byte{[]byte("hello"), []byte("world")}},
	}, wire.Features{})

	server := wire.NewSession(wire.Alone())
	var reply []byte
	for _, piece := range [][]byte{sent[:20], sent[20:]} {
		requests, err := server.Feed(piece, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, r := range requests {
			batch := r.Body.(*wire.AppendEvents)
			fmt.Printf("request %d appends %d events\n", r.ID, len(batch.Events))
			reply = server.Append(reply, &wire.Response{
				RequestID: r.ID,
				Body:      &wire.AppendEventsReply{FirstOffset: 0, Count: uint32(len(batch.Events))},
			}, nil)
		}
	}

	responses, err := wire.NewClientSession(wire.Alone()).Feed(reply, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	response := responses[0].(*wire.Response) // before version 3 a server sends nothing else
	done := response.Body.(*wire.AppendEventsReply)
	fmt.Printf("response %d: %d events from offset %d\n", response.RequestID, done.Count, done.FirstOffset)
	// Output:
	// request 7 appends 2 events
	// response 7: 2 events from offset 0
}
