package sql

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// entryText is an entry as an event of the system stream $sql, in JSON. It holds all that the entry's outcome depends on,
// but for the time: that is the event's.
type entryText struct {
	Position wire.Position `json:"position"`
	SQL      string        `json:"sql"`
	Params   []paramText   `json:"params,omitempty"`
	Makes    string        `json:"makes,omitempty"`
	Key      string        `json:"key,omitempty"`
	Seed     string        `json:"seed,omitempty"`
	Limits   Limits        `json:"limits"`
}

// paramText is a parameter in JSON: null, an integer, a text, true or false; or an object that names its kind.
type paramText struct{ wire.Value }

// MarshalJSON implements json.Marshaler.
func (p paramText) MarshalJSON() ([]byte, error) {
	switch p.Kind {
	case wire.BigInt:
		return json.Marshal(p.Int)
	case wire.Text:
		return json.Marshal(p.Text)
	case wire.Boolean:
		return json.Marshal(p.Int != 0)
	case wire.Timestamp:
		return json.Marshal(map[string]int64{"timestamp": p.Int})
	case wire.Double: // as text: JSON has no infinities, and readers of it round
		return json.Marshal(map[string]string{"double": strconv.FormatFloat(p.Float, 'g', -1, 64)})
	case wire.Bytes:
		return json.Marshal(map[string]string{"bytes": base64.StdEncoding.EncodeToString(p.Bytes)})
	}
	return []byte("null"), nil
}

var errParam = errors.New("a parameter is of no known kind")

// UnmarshalJSON implements json.Unmarshaler.
func (p *paramText) UnmarshalJSON(text []byte) error {
	p.Value = wire.Value{}
	switch text[0] {
	case 'n':
		return nil
	case 't', 'f':
		p.Kind = wire.Boolean
		if text[0] == 't' {
			p.Int = 1
		}
		return nil
	case '"':
		p.Kind = wire.Text
		return json.Unmarshal(text, &p.Text)
	case '{':
		return p.unmarshalNamed(text)
	}
	p.Kind = wire.BigInt
	return json.Unmarshal(text, &p.Int)
}

func (p *paramText) unmarshalNamed(text []byte) (err error) {
	var named struct {
		Timestamp *int64
		Double    *string
		Bytes     *string
	}
	if err := json.Unmarshal(text, &named); err != nil {
		return err
	}
	switch {
	case named.Timestamp != nil:
		p.Kind, p.Int = wire.Timestamp, *named.Timestamp
	case named.Double != nil:
		p.Kind = wire.Double
		p.Float, err = strconv.ParseFloat(*named.Double, 64)
	case named.Bytes != nil:
		p.Kind = wire.Bytes
		p.Bytes, err = base64.StdEncoding.DecodeString(*named.Bytes)
	default:
		err = errParam
	}
	return err
}

// Encode returns an entry as an event's data.
func (e *Entry) Encode() []byte {
	t := entryText{Position: e.Position, SQL: e.SQL, Makes: e.Makes, Limits: e.Limits}
	for _, v := range e.Params {
		t.Params = append(t.Params, paramText{v})
	}
	if e.Key.Set {
		t.Key = hex.EncodeToString(e.Key.Value[:])
	}
	if e.Seed != [SeedSize]byte{} {
		t.Seed = hex.EncodeToString(e.Seed[:])
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // people read it
	if err := enc.Encode(&t); err != nil {
		panic("sql: an entry cannot be encoded: " + err.Error())
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// Decode returns the entry that Encode has made an event's data of; at is when it was committed.
func Decode(data []byte, at wire.Time) (*Entry, error) {
	var t entryText
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("decode an entry: %w", err)
	}
	e := &Entry{Position: t.Position, Time: at, SQL: t.SQL, Makes: t.Makes, Limits: t.Limits}
	for _, v := range t.Params {
		e.Params = append(e.Params, v.Value)
	}
	if t.Seed != "" && !decodeHex(e.Seed[:], t.Seed) {
		return nil, fmt.Errorf("decode an entry: its seed is %q", t.Seed)
	}
	if t.Key != "" {
		e.Key.Set = true
		if !decodeHex(e.Key.Value[:], t.Key) {
			return nil, fmt.Errorf("decode an entry: its key is %q", t.Key)
		}
	}
	return e, nil
}

// decodeHex fills dst from hexadecimal digits, and reports whether they are as many as that takes.
func decodeHex(dst []byte, digits string) bool {
	p, err := hex.DecodeString(digits)
	return err == nil && copy(dst, p) == len(p) && len(p) == len(dst)
}

// Content identifies what a client has asked for: two entries with the same statement and parameters have the same. It is
// SHA-256 cut to 16 bytes.
func (e *Entry) Content() (c [16]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(e.SQL), e.SQL)
	for _, v := range e.Params {
		fmt.Fprintf(h, "%d %d %x %d:%s%d:%s", v.Kind, v.Int, math.Float64bits(v.Float), len(v.Text), v.Text, len(v.Bytes), v.Bytes)
	}
	copy(c[:], h.Sum(nil))
	return c
}
