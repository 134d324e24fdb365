// Package wire is the protocol between clients and the server: its messages, their encoding, and the framing of a
// connection in both directions. It does no input or output of its own. A server feeds it what a socket delivers and
// sends what it appends:
//
//	s := wire.NewSession(Alone())
//	requests, err := s.Feed(received, nil) // err is a *Fault: serve the requests, then close
//	for _, r := range requests {
//		reply = s.Append(reply, answer(r), nil)
//	}
//
// A client uses AppendRequest and a ClientSession. docs/PROTOCOL.md is the specification.
package wire

// Limits of the protocol. Decoding enforces MaxPayload, MaxVersion, MaxParams and MaxBatchParams; the others are for whoever gives a request its
// meaning, because passing them is answered and does not end the connection.
const (
	MaxVersion      = 3        // the highest protocol version spoken here
	MaxPayload      = 16 << 20 // bytes in a frame after its header
	MaxBatchEvents  = 10_000   // events in one append
	MaxBatchBytes   = 4 << 20  // event data in one append, in bytes
	MaxListPage     = 1000     // elements in one page of a list
	MaxName         = 256      // characters in the name of a stream, table or tenant
	MaxParams       = 32_766   // parameters of one statement
	MaxBatchQueries = 1000     // statements of one BatchQuery
	MaxBatchParams  = 131_064  // parameters of all of them
	MaxReason       = 1024     // bytes of the reason for a hold
	MaxHolds        = 64       // legal holds on one stream
)

// Capabilities that a client may list in its handshake.
const (
	CapabilityRichEvents     = "rich_events"      // reads return events with offset, event time and checksum
	CapabilityTypedValues    = "typed_values"     // SQL values may be Double and Bytes
	CapabilityExtendedErrors = "extended_errors"  // codes above 15 are sent as themselves
	CapabilityLZ4            = "compression.lz4"  // payloads may travel as LZ4, from version 2 on
	CapabilityZstd           = "compression.zstd" // payloads may travel as Zstandard, from version 2 on
)

// Features is the shape of messages that both ends of a connection agreed on. The zero value is a version-1 client that
// listed no capabilities.
type Features struct {
	Version        uint16 // of frames and messages; 0 means 1
	RichEvents     bool
	TypedValues    bool
	ExtendedErrors bool
	LZ4            bool
	Zstd           bool
}

// FeaturesOf returns the features that a handshake's capabilities ask for, in version 1. Capabilities it does not know are
// ignored.
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
		case CapabilityLZ4:
			f.LZ4 = true
		case CapabilityZstd:
			f.Zstd = true
		}
	}
	return f
}

// In returns the features as they are in a version of the protocol: from 2 on, messages always have their full shape, and
// before it nothing is compressed.
func (f Features) In(version uint16) Features {
	f.Version = version
	if version >= 2 {
		f.RichEvents, f.TypedValues, f.ExtendedErrors = true, true, true
	} else {
		f.LZ4, f.Zstd = false, false
	}
	return f
}

// Agree returns what a server and a client that sent a handshake go on with. It depends on nothing but the handshake, so
// that both ends find it by themselves.
func Agree(h *Handshake) Features {
	return FeaturesOf(h.Capabilities).In(min(max(h.ClientVersion, 1), MaxVersion))
}

// Allows reports whether a payload may travel in a codec.
func (f Features) Allows(c Codec) bool {
	return c == NoCodec || c == LZ4 && f.LZ4 || c == Zstd && f.Zstd
}

// Capabilities returns the list that FeaturesOf turns into f.
func (f Features) Capabilities() []string {
	var list []string
	for _, c := range []struct {
		has  bool
		name string
	}{
		{f.RichEvents, CapabilityRichEvents},
		{f.TypedValues, CapabilityTypedValues},
		{f.ExtendedErrors, CapabilityExtendedErrors},
		{f.LZ4, CapabilityLZ4},
		{f.Zstd, CapabilityZstd},
	} {
		if c.has {
			list = append(list, c.name)
		}
	}
	return list
}
