package wire

import (
	"fmt"
	"slices"
)

// Message is what a server sends: a *Response, or from version 3 on a *Push.
type Message interface {
	isMessage()
	// codec is how the message prefers to travel.
	codec() Codec
}

// SubscriptionID names a subscription of a connection.
type SubscriptionID uint64

// Push is what a server sends unasked, on version 3.
type Push struct {
	Codec Codec // how it prefers to travel; the client is not told
	Body  PushBody
}

// PushBody is one of the push messages below.
type PushBody interface{ variant() uint32 }

// The variant indexes of pushes.
const (
	pushEvents      = 0
	pushClosed      = 1
	pushQueryChunk  = 2
	pushGroupEvents = 3
	pushCaughtUp    = 4
	pushGap         = 5
	pushPing        = 6
)

// SubscriptionEvents are the next events of a subscription.
type SubscriptionEvents struct {
	Subscription SubscriptionID
	Events       EventRange
}

// SubscriptionClosed ends a subscription.
type SubscriptionClosed struct {
	Subscription SubscriptionID
	Code         Code
	Message      string
}

// QueryChunk is a piece of the result of a streamed query. Behind the last one comes the query's response, whose rows, if it
// has any, come behind those of the chunks.
type QueryChunk struct {
	Query    uint64   // the id of its request
	Sequence uint32   // counts from 0
	Columns  []string // of the result, in the first chunk; empty in the others
	Rows     [][]Value
	Position Position // tail field; that the query sees, in the first chunk
	Size     int      // about what the rows take on the wire, in bytes, where the sender says so; not sent
}

// CaughtUp says that a subscription has been sent every event there is; what follows is live.
type CaughtUp struct {
	Subscription SubscriptionID
	Offset       Offset // of the next event
}

// Gap says that a subscription passes over events.
type Gap struct {
	Subscription SubscriptionID
	From, To     Offset // the events From up to, not including, To
	Reason       GapReason
}

// GapReason says why a subscription passes over events.
type GapReason uint32

// The reasons. A client may meet one that it does not know.
const (
	GapRetention GapReason = iota // they have expired
	GapDamage                     // they cannot be read: the storage is damaged there
)

// String returns the reason in one lower-case word.
func (r GapReason) String() string {
	switch r {
	case GapRetention:
		return "retention"
	case GapDamage:
		return "damage"
	}
	return fmt.Sprintf("GapReason(%d)", uint32(r))
}

// PushPing asks the client for a sign of life: a Ping request, or any other one.
type PushPing struct{}

func (*SubscriptionEvents) variant() uint32 { return pushEvents }
func (*SubscriptionClosed) variant() uint32 { return pushClosed }
func (*QueryChunk) variant() uint32         { return pushQueryChunk }
func (*CaughtUp) variant() uint32           { return pushCaughtUp }
func (*Gap) variant() uint32                { return pushGap }
func (*PushPing) variant() uint32           { return pushPing }

func (r *Response) isMessage()   {}
func (r *Response) codec() Codec { return r.Codec }
func (p *Push) isMessage()       {}
func (p *Push) codec() Codec     { return p.Codec }

// The server's payloads of version 3 begin with one of these.
const (
	messageResponse = 0
	messagePush     = 1
)

// AppendMessage appends the frame of a message in the shape that f allows; see AppendResponse. It compresses the payload
// as the message prefers, where a packer is given, f allows the codec and that makes it shorter. A push must not be longer
// than MaxPayload.
func AppendMessage(dst []byte, m Message, f Features, p *Packer) []byte {
	start := len(dst)
	if r, ok := m.(*Response); ok {
		dst = appendResponse(dst, r, f)
	} else {
		dst = beginFrame(dst, f)
		dst = appendPush(appendU32(dst, messagePush), m.(*Push).Body, f)
	}
	return packFrame(dst, start, f, m.codec(), p)
}

func appendPush(dst []byte, body PushBody, f Features) []byte {
	dst = appendU32(dst, body.variant())
	switch b := body.(type) {
	case *SubscriptionEvents:
		dst = appendCount(appendNumber(dst, b.Subscription), b.Events.Count)
		for _, chunk := range b.Events.Chunks {
			dst = append(dst, chunk...)
		}
		return dst
	case *SubscriptionClosed:
		return appendBytes(appendU32(appendNumber(dst, b.Subscription), uint32(b.Code)), b.Message)
	case *QueryChunk:
		return appendQueryChunk(dst, b, f)
	case *GroupEvents:
		return appendGroupEvents(dst, b)
	case *CaughtUp:
		return appendNumber(appendNumber(dst, b.Subscription), b.Offset)
	case *Gap:
		dst = appendNumber(appendNumber(appendNumber(dst, b.Subscription), b.From), b.To)
		return appendU32(dst, uint32(b.Reason))
	case *PushPing:
		return dst
	}
	panic(fmt.Sprintf("wire: push of type %T", body))
}

func appendQueryChunk(dst []byte, b *QueryChunk, f Features) []byte {
	dst = slices.Grow(dst, b.Size)
	dst = appendStrings(appendU32(appendNumber(dst, b.Query), b.Sequence), b.Columns)
	dst = appendCount(dst, len(b.Rows))
	for _, row := range b.Rows {
		dst = appendValues(dst, row, f)
	}
	if b.Position == 0 {
		return dst
	}
	return appendNumber(dst, b.Position)
}

// DecodeMessage decodes the payload of a server's frame, once expanded; see DecodeResponse.
func DecodeMessage(payload []byte, f Features) (Message, error) {
	if f.Version < 3 {
		return asMessage(DecodeResponse(payload, f))
	}
	d := decoder{rest: payload}
	switch d.variant(2) {
	case messagePush:
		p := &Push{Body: d.push(f)}
		if d.err != nil {
			return nil, d.err
		}
		return p, nil
	default:
		if d.err != nil {
			return nil, d.err
		}
		return asMessage(DecodeResponse(d.rest, f))
	}
}

// asMessage keeps a nil response from becoming a message that is not nil.
func asMessage(r *Response, err error) (Message, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (d *decoder) push(f Features) PushBody {
	switch d.u32() {
	case pushEvents:
		return &SubscriptionEvents{Subscription: SubscriptionID(d.u64()), Events: d.richEvents()}
	case pushClosed:
		return &SubscriptionClosed{Subscription: SubscriptionID(d.u64()), Code: Code(d.u32()), Message: d.str()}
	case pushQueryChunk:
		return d.queryChunk(f)
	case pushGroupEvents:
		return d.groupEvents()
	case pushCaughtUp:
		return &CaughtUp{Subscription: SubscriptionID(d.u64()), Offset: Offset(d.u64())}
	case pushGap:
		return &Gap{Subscription: SubscriptionID(d.u64()), From: Offset(d.u64()), To: Offset(d.u64()), Reason: GapReason(d.u32())}
	case pushPing:
		return &PushPing{}
	}
	d.fail(errVariant)
	return nil
}

func (d *decoder) queryChunk(f Features) *QueryChunk {
	m := &QueryChunk{Query: d.u64(), Sequence: d.u32(), Columns: d.strings(), Rows: d.rows(f)}
	if d.more() {
		m.Position = Position(d.u64())
	}
	return m
}
