package wire

import (
	"errors"
	"hash/crc32"
)

// Session is the server's half of a connection, without its input and output.
//
// One goroutine calls Feed. Another may call AppendReply, but only for requests that Feed has returned, handed over in
// a way that orders the two calls (a channel, a mutex).
type Session struct {
	in       framer
	started  bool     // the first request was decoded; only Feed uses it
	features Features // not changed once the first request is returned
}

// NewSession returns the session of a connection that has just been accepted.
func NewSession() *Session { return &Session{} }

// Feed takes the next bytes that arrived, any number of them, and appends the requests they complete to dst. It keeps
// nothing of p. The requests own the memory that they alias: a chunk of up to 64 KiB that they share with their
// neighbours, or of their own size if that is more. Whoever keeps a small part for long should copy it.
//
// The error is a *Fault. The requests before the fault are returned with it; they were sent in good faith and may be
// served, then the connection must be closed. Every later call returns the same fault.
func (s *Session) Feed(p []byte, dst []*Request) ([]*Request, error) {
	return feed(&s.in, p, dst, s.decode)
}

// decode decodes a request. A handshake counts only as the first.
func (s *Session) decode(payload []byte) (*Request, error) {
	r, err := DecodeRequest(payload, s.features)
	if err != nil || s.started {
		return r, err
	}
	s.started = true
	if h, ok := r.Body.(*Handshake); ok {
		s.features = FeaturesOf(h.Capabilities)
	}
	return r, nil
}

// AppendReply appends the frame of a response to dst, in the shape that the client understands; see AppendResponse.
func (s *Session) AppendReply(dst []byte, r *Response) []byte {
	return AppendResponse(dst, r, s.features)
}

// ClientSession is the receiving half of a client's connection, without its input.
type ClientSession struct {
	in       framer
	features Features
}

// NewClientSession returns the session of a new connection.
func NewClientSession() *ClientSession { return &ClientSession{in: framer{trust: clientTrust}} }

// SetFeatures fixes the shape of the replies from now on. It must be called between the handshake's reply and the next
// one, by the goroutine that calls Feed.
func (s *ClientSession) SetFeatures(f Features) { s.features = f }

// Feed takes the next bytes that arrived and appends the responses they complete to dst, under the rules of
// Session.Feed.
func (s *ClientSession) Feed(p []byte, dst []*Response) ([]*Response, error) {
	return feed(&s.in, p, dst, s.decode)
}

func (s *ClientSession) decode(payload []byte) (*Response, error) {
	return DecodeResponse(payload, s.features)
}

func feed[T any](in *framer, p []byte, dst []*T, decode func([]byte) (*T, error)) ([]*T, error) {
	for len(p) > 0 && in.fault == nil {
		p = in.fill(p)
		for payload, ok := in.next(); ok; payload, ok = in.next() {
			m, err := decode(payload)
			if err != nil {
				in.fail(fault(FaultDecode, err))
				break
			}
			dst = append(dst, m)
		}
	}
	if in.fault != nil {
		return dst, in.fault
	}
	return dst, nil
}

// framer cuts arriving bytes into frames. What it hands out aliases chunks that it fills but never overwrites.
type framer struct {
	chunk []byte // chunk[:start] is given away; the rest begins a frame that is not yet whole
	start int
	need  int // size of that frame with its header in bytes, 0 until the header is here
	trust int // bytes that a header alone may make us allocate
	fault *Fault
}

// Sizes of a new chunk, in bytes. A connection that sends little at a time holds little; one under load allocates once
// in many frames.
const (
	minChunk = 4 << 10
	maxChunk = 64 << 10
)

// clientTrust spares a client, which has few connections, the steps in which a large reply would grow.
const clientTrust = 4 << 20

var errChecksum = errors.New("payload does not match its checksum")

// fill takes over as much of p as the chunk has room for and returns the rest. The caller must take out all frames with
// next before it fills again.
func (f *framer) fill(p []byte) (rest []byte) {
	if len(f.chunk) == cap(f.chunk) {
		f.grow(len(p))
	}
	n := min(len(p), cap(f.chunk)-len(f.chunk))
	f.chunk = append(f.chunk, p[:n]...)
	return p[n:]
}

// grow moves the partial frame to a new chunk. A frame that needs more than maxChunk gets it in steps, as its bytes
// arrive: a header alone must not make us allocate 16 MiB.
func (f *framer) grow(arriving int) {
	partial := f.chunk[f.start:]
	size := min(max(8*arriving, minChunk), maxChunk)
	if f.need > size {
		size = min(f.need, max(size, 2*len(partial), len(partial)+arriving, f.trust))
	}
	f.chunk = append(make([]byte, 0, size), partial...)
	f.start = 0
}

// next returns the payload of the next whole frame, if there is one and it is sound.
func (f *framer) next() (payload []byte, ok bool) {
	frame := f.chunk[f.start:]
	if f.fault != nil || len(frame) < HeaderSize {
		return nil, false
	}
	h, bad := parseHeader(frame)
	if bad != nil {
		f.fail(bad)
		return nil, false
	}
	f.need = HeaderSize + h.length
	if len(frame) < f.need {
		return nil, false
	}
	payload = frame[HeaderSize:f.need]
	f.start += f.need
	f.need = 0
	if crc32.ChecksumIEEE(payload) != h.crc {
		f.fail(fault(FaultCRC, errChecksum))
		return nil, false
	}
	return payload, true
}

// fail ends the framing and lets go of the chunk.
func (f *framer) fail(bad *Fault) {
	*f = framer{fault: bad, trust: f.trust}
}
