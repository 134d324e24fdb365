// Package wire is the protocol between clients and the server: its messages, their encoding, and the framing of a
// connection in both directions. It does no input or output of its own. A server feeds it what a socket delivers and
// sends what it appends:
//
//	s := wire.NewSession()
//	requests, err := s.Feed(received, nil) // err is a *Fault: serve the requests, then close
//	for _, r := range requests {
//		reply = s.AppendReply(reply, answer(r))
//	}
//
// A client uses AppendRequest and a ClientSession. docs/PROTOCOL.md is the specification.
package wire

// Limits of the protocol. Decoding enforces MaxPayload, MaxVersion and MaxParams; the others are for whoever gives a request its
// meaning, because passing them is answered and does not end the connection.
const (
	MaxVersion     = 1        // the highest protocol version spoken here
	MaxPayload     = 16 << 20 // bytes in a frame after its header
	MaxBatchEvents = 10_000   // events in one append
	MaxBatchBytes  = 4 << 20  // event data in one append, in bytes
	MaxListPage    = 1000     // elements in one page of a list
	MaxName        = 256      // characters in the name of a stream, table or tenant
	MaxParams      = 32_766   // parameters of one statement
	MaxReason      = 1024     // bytes of the reason for a hold
	MaxHolds       = 64       // legal holds on one stream
)

// Capabilities that a client may list in its handshake.
const (
	CapabilityRichEvents     = "rich_events"     // reads return events with offset, event time and checksum
	CapabilityTypedValues    = "typed_values"    // SQL values may be Double and Bytes
	CapabilityExtendedErrors = "extended_errors" // codes above 15 are sent as themselves
)

// Features is the shape of messages that both ends of a connection agreed on. The zero value is a version-1 client that
// listed no capabilities.
type Features struct {
	RichEvents     bool
	TypedValues    bool
	ExtendedErrors bool
}

// FeaturesOf returns the features that a handshake's capabilities ask for. Capabilities it does not know are ignored.
func FeaturesOf(capabilities []string) Features {
	var f Features
	for _, c := range capabilities {
		switch c {
		case CapabilityRichEvents:
			f.RichEvents = true
		case CapabilityTypedValues:
			f.TypedValues = true
		case CapabilityExtendedErrors:
			f.ExtendedErrors = true
		}
	}
	return f
}

// Capabilities returns the list that FeaturesOf turns into f.
func (f Features) Capabilities() []string {
	var list []string
	if f.RichEvents {
		list = append(list, CapabilityRichEvents)
	}
	if f.TypedValues {
		list = append(list, CapabilityTypedValues)
	}
	if f.ExtendedErrors {
		list = append(list, CapabilityExtendedErrors)
	}
	return list
}
