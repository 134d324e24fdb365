package wire

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Session is the server's half of a connection, without its input and output.
//
// One goroutine calls Feed. Another may call Append, but only for requests that Feed has returned, handed over in a way
// that orders the two calls (a channel, a mutex), and for the handshake's reply first.
type Session struct {
	in       framer
	started  bool           // the first request was decoded; only Feed uses it
	features Features       // not changed once the first request is returned
	garbled  Option[uint64] // the id of the request that could not be decoded; only Feed uses it
	greeting bool           // the first request was a handshake; likewise
	greeted  bool           // its reply is appended; only Append uses it
}

// NewSession returns the session of a connection that has just been accepted. It borrows a packer whenever it expands a
// payload.
func NewSession(p Packers) *Session { return &Session{in: framer{packers: p}} }

// Feed takes the next bytes that arrived, any number of them, and appends the requests they complete to dst. It keeps
// nothing of p. The requests own the memory that they alias: a chunk of up to 64 KiB that they share with their
// neighbours, or of their own size if that is more. Whoever keeps a small part for long should copy it.
//
// The error is a *Fault. The requests before the fault are returned with it; they were sent in good faith and may be
// served, then the connection must be closed. Every later call returns the same fault.
func (s *Session) Feed(p []byte, dst []*Request) ([]*Request, error) {
	before := s.in.fault
	dst, err := feed(&s.in, p, dst, s.decode)
	if f := s.in.fault; f != before && f.Reason == FaultDecode && s.features.Version >= 2 {
		f.Request = s.garbled
	}
	return dst, err
}

// decode decodes a request. A handshake counts only as the first: from the next frame on, its version holds.
func (s *Session) decode(payload []byte) (*Request, error) {
	r, err := DecodeRequest(payload, s.features)
	if err != nil && len(payload) >= 8 {
		s.garbled = Some(binary.LittleEndian.Uint64(payload))
	}
	if err != nil || s.started {
		return r, err
	}
	s.started = true
	if h, ok := r.Body.(*Handshake); ok {
		s.greeting, s.features = true, Agree(h)
		s.in.features = s.features
	}
	return r, nil
}

// Append appends the frame of a message to dst, in the shape that the client understands; see AppendMessage. The reply to
// a handshake travels in version 1.
func (s *Session) Append(dst []byte, m Message, p *Packer) []byte {
	f := s.features
	if s.greeting && !s.greeted {
		s.greeted, f.Version = true, 1
	}
	return AppendMessage(dst, m, f, p)
}

// Packs reports whether the frame of a message may be compressed, so that Append needs a packer.
func (s *Session) Packs(m Message) bool {
	c := m.codec()
	return c != NoCodec && s.features.Allows(c)
}

// ClientSession is the receiving half of a client's connection, without its input.
type ClientSession struct {
	in       framer
	features Features
}

// NewClientSession returns the session of a new connection.
func NewClientSession(p Packers) *ClientSession {
	return &ClientSession{in: framer{trust: clientTrust, packers: p}}
}

// SetFeatures fixes the version and shape of the messages from now on. It must be called between the handshake's reply and
// the next one, by the goroutine that calls Feed.
func (s *ClientSession) SetFeatures(f Features) { s.features, s.in.features = f, f }

// Feed takes the next bytes that arrived and appends the messages they complete to dst, under the rules of
// Session.Feed.
func (s *ClientSession) Feed(p []byte, dst []Message) ([]Message, error) {
	return feed(&s.in, p, dst, s.decode)
}

func (s *ClientSession) decode(payload []byte) (Message, error) {
	return DecodeMessage(payload, s.features)
}

// DecodeFrame decodes a whole frame of a request, as a Session would.
func DecodeFrame(frame []byte, f Features) (*Request, error) {
	s := Session{in: framer{packers: Alone(), features: f}, started: true, features: f}
	requests, err := s.Feed(frame, nil)
	switch {
	case err != nil:
		return nil, err
	case len(requests) != 1:
		return nil, errShort
	}
	return requests[0], nil
}

func feed[T any](in *framer, p []byte, dst []T, decode func([]byte) (T, error)) ([]T, error) {
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

	features Features // of the frames
	packers  Packers
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
	head := f.features.HeaderBytes()
	if f.fault != nil || len(frame) < head {
		return nil, false
	}
	h, bad := parseHeader(frame, f.features)
	if bad != nil {
		f.fail(bad)
		return nil, false
	}
	f.need = head + h.length
	if len(frame) < f.need {
		return nil, false
	}
	payload = frame[head:f.need]
	f.start += f.need
	f.need = 0
	if crc32.ChecksumIEEE(payload) != h.crc {
		f.fail(fault(FaultCRC, errChecksum))
		return nil, false
	}
	if h.codec != NoCodec {
		return f.unpack(h.codec, payload)
	}
	return payload, true
}

func (f *framer) unpack(c Codec, payload []byte) (raw []byte, ok bool) {
	p := f.packers.Borrow()
	defer f.packers.Return(p)
	raw, err := p.unpack(c, payload)
	if err != nil {
		f.fail(fault(FaultCodec, err))
		return nil, false
	}
	return raw, true
}

// fail ends the framing and lets go of the chunk.
func (f *framer) fail(bad *Fault) {
	*f = framer{fault: bad, trust: f.trust}
}
