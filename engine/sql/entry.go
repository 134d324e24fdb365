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
	SQL      *string       `json:"sql,omitempty"`
	Params   []paramText   `json:"params,omitempty"`
	Makes    *makesText    `json:"makes,omitempty"`
	Batch    []batchedText `json:"batch,omitempty"`
	Key      string        `json:"key,omitempty"`
	Seed     string        `json:"seed,omitempty"`
	Limits   Limits        `json:"limits"`
	Trim     *trimText     `json:"trim,omitempty"`
}

// trimText says what is forgotten, in JSON.
type trimText struct {
	Upto wire.Time     `json:"upto"`
	Keys wire.Position `json:"keys"`
}

// batchedText is one of several statements of an entry.
type batchedText struct {
	SQL    string      `json:"sql"`
	Params []paramText `json:"params,omitempty"`
	Makes  string      `json:"makes,omitempty"`
}

// makesText is what an entry may make: a name, or a list of them where it has several statements. A program that knows of
// single statements alone cannot read the list, and so does not take a batch for a statement of its own.
type makesText struct {
	name  string
	names []string // not nil where it is a list
}

// MarshalJSON implements json.Marshaler.
func (m *makesText) MarshalJSON() ([]byte, error) {
	if m.names != nil {
		return json.Marshal(m.names)
	}
	return json.Marshal(m.name)
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *makesText) UnmarshalJSON(text []byte) error {
	if text[0] == '[' {
		m.names = []string{}
		return json.Unmarshal(text, &m.names)
	}
	return json.Unmarshal(text, &m.name)
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
	t := entryText{Position: e.Position, Limits: e.Limits}
	if len(e.Batch) > 0 {
		t.Makes = &makesText{names: append([]string{}, e.Names()...)}
	} else {
		t.SQL, t.Params = &e.SQL, paramTexts(e.Params)
		if e.Makes != "" {
			t.Makes = &makesText{name: e.Makes}
		}
	}
	for _, b := range e.Batch {
		t.Batch = append(t.Batch, batchedText{b.SQL, paramTexts(b.Params), b.Makes})
	}
	if e.Key.Set {
		t.Key = hex.EncodeToString(e.Key.Value[:])
	}
	if e.Seed != [SeedSize]byte{} {
		t.Seed = hex.EncodeToString(e.Seed[:])
	}
	if e.Trim.Set {
		x := trimText(e.Trim.Value)
		t.Trim = &x
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // people read it
	if err := enc.Encode(&t); err != nil {
		panic("sql: an entry cannot be encoded: " + err.Error())
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

func paramTexts(params []wire.Value) (list []paramText) {
	for _, v := range params {
		list = append(list, paramText{v})
	}
	return list
}

func paramsOf(list []paramText) (params []wire.Value) {
	for _, v := range list {
		params = append(params, v.Value)
	}
	return params
}

// Decode returns the entry that Encode has made an event's data of; at is when it was committed.
func Decode(data []byte, at wire.Time) (*Entry, error) {
	var t entryText
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("decode an entry: %w", err)
	}
	e := &Entry{Position: t.Position, Time: at, Params: paramsOf(t.Params), Limits: t.Limits}
	if t.SQL != nil {
		e.SQL = *t.SQL
	}
	if t.Makes != nil {
		e.Makes = t.Makes.name
	}
	for _, b := range t.Batch {
		e.Batch = append(e.Batch, Batched{b.SQL, paramsOf(b.Params), b.Makes})
	}
	if batch := t.Makes != nil && t.Makes.names != nil; batch != (len(e.Batch) > 0) || batch && (t.SQL != nil || t.Params != nil) {
		return nil, errors.New("decode an entry: it has neither one statement nor several")
	}
	if t.Trim != nil {
		e.Trim = wire.Some(Trim(*t.Trim))
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
	statement := func(text string, params []wire.Value) {
		fmt.Fprintf(h, "%d:%s", len(text), text)
		for _, v := range params {
			fmt.Fprintf(h, "%d %d %x %d:%s%d:%s", v.Kind, v.Int, math.Float64bits(v.Float), len(v.Text), v.Text, len(v.Bytes), v.Bytes)
		}
	}
	if len(e.Batch) == 0 {
		statement(e.SQL, e.Params)
	}
	for _, b := range e.Batch {
		fmt.Fprintf(h, "batch %d ", len(b.Params))
		statement(b.SQL, b.Params)
	}
	copy(c[:], h.Sum(nil))
	return c
}
