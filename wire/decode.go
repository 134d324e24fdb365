package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"
)

// Payloads are bincode 1.3 with its default options:
//
//	u8 … u64, i64, f64   fixed width, little-endian
//	bool                 one byte, 0 or 1
//	Option               one byte, 0 or 1, then the value if 1
//	String, Vec          a u64 count, then the bytes or elements
//	enum                 a u32 variant index, then the variant's fields
//	struct               its fields and nothing else
//
// Bytes after the value are ignored.
var (
	errShort   = errors.New("payload ends early")
	errBool    = errors.New("bool is neither 0 nor 1")
	errUTF8    = errors.New("string is not UTF-8")
	errVariant = errors.New("unknown variant")
	errParams  = errors.New("too many parameters")
)

// decoder reads values off the front of a payload. After the first error every read returns a zero value, so callers
// check err once, at the end.
type decoder struct {
	rest []byte
	err  error // the first one
}

// fail records the first error and drops the rest, so that no later read and no tail field finds anything.
func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.rest = nil
}

// more reports whether a tail field follows: where the payload ends exactly, the field has its default.
func (d *decoder) more() bool { return len(d.rest) > 0 }

func (d *decoder) u8() uint8 {
	if len(d.rest) < 1 {
		d.fail(errShort)
		return 0
	}
	v := d.rest[0]
	d.rest = d.rest[1:]
	return v
}

func (d *decoder) u16() uint16 {
	if len(d.rest) < 2 {
		d.fail(errShort)
		return 0
	}
	v := binary.LittleEndian.Uint16(d.rest)
	d.rest = d.rest[2:]
	return v
}

func (d *decoder) u32() uint32 {
	if len(d.rest) < 4 {
		d.fail(errShort)
		return 0
	}
	v := binary.LittleEndian.Uint32(d.rest)
	d.rest = d.rest[4:]
	return v
}

func (d *decoder) u64() uint64 {
	if len(d.rest) < 8 {
		d.fail(errShort)
		return 0
	}
	v := binary.LittleEndian.Uint64(d.rest)
	d.rest = d.rest[8:]
	return v
}

func (d *decoder) boolean() bool {
	v := d.u8()
	if v > 1 {
		d.fail(errBool)
	}
	return v == 1
}

// bytes returns the next Vec<u8>, which aliases the payload.
func (d *decoder) bytes() []byte {
	n := d.count(1)
	v := d.rest[:n:n]
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) str() string {
	v := d.bytes()
	if !utf8.Valid(v) {
		d.fail(errUTF8)
		return ""
	}
	return string(v)
}

func (d *decoder) key() (k Key) {
	if len(d.rest) < len(k) {
		d.fail(errShort)
		return k
	}
	d.rest = d.rest[copy(k[:], d.rest):]
	return k
}

// count reads the length of a Vec. It refuses one that the rest of the payload cannot hold, at elementSize bytes or
// more per element, so that a small frame cannot make its receiver allocate much.
func (d *decoder) count(elementSize int) int {
	n := d.u64()
	if n > uint64(len(d.rest)/elementSize) {
		d.fail(errShort)
		return 0
	}
	return int(n)
}

// variant reads the index of an enum of n variants.
func (d *decoder) variant(n uint32) uint32 {
	v := d.u32()
	if v >= n {
		d.fail(errVariant)
		return 0
	}
	return v
}

// vec reads the length of a Vec and makes room for its elements, nil for none.
func vec[T any](d *decoder, elementSize int) []T {
	n := d.count(elementSize)
	if n == 0 {
		return nil
	}
	return make([]T, n)
}

// number is any of our names for a u64 or i64.
type number interface{ ~uint64 | ~int64 }

func numbers[T number](d *decoder) []T {
	v := vec[T](d, 8)
	for i := range v {
		v[i] = T(d.u64())
	}
	return v
}

func optNumber[T number](d *decoder) (o Option[T]) {
	if d.boolean() {
		o = Some(T(d.u64()))
	}
	return o
}

func optU32(d *decoder) (o Option[uint32]) {
	if d.boolean() {
		o = Some(d.u32())
	}
	return o
}

func optKey(d *decoder) (o Option[Key]) {
	if d.boolean() {
		o = Some(d.key())
	}
	return o
}

func (d *decoder) optStr() (o Option[string]) {
	if d.boolean() {
		o = Some(d.str())
	}
	return o
}

// Least encoded sizes, in bytes.
const (
	minVec    = 8
	minValue  = 4
	minStream = 8 + minVec + 4 + 4 + 1 + 4*8 + 1 + 1 + 1 + 1 + 4 + minVec
	minHold   = 2*minVec + 8
	minTenant = 8 + minVec + 3*8
)

func (d *decoder) strings() []string {
	v := vec[string](d, minVec)
	for i := range v {
		v[i] = d.str()
	}
	return v
}

func (d *decoder) values(f Features) []Value {
	v := vec[Value](d, minValue)
	for i := range v {
		v[i] = d.value(f)
	}
	return v
}

func (d *decoder) value(f Features) Value {
	kinds := uint32(Timestamp) + 1
	if f.TypedValues {
		kinds = uint32(Bytes) + 1
	}
	v := Value{Kind: ValueKind(d.variant(kinds))}
	switch v.Kind {
	case BigInt, Timestamp:
		v.Int = int64(d.u64())
	case Text:
		v.Text = d.str()
	case Boolean:
		if d.boolean() {
			v.Int = 1
		}
	case Double:
		v.Float = math.Float64frombits(d.u64())
	case Bytes:
		v.Bytes = d.bytes()
	}
	return v
}

func (d *decoder) dataClass() DataClass {
	return DataClass(d.variant(uint32(Deidentified) + 1))
}

func (d *decoder) placement() Placement {
	if d.variant(2) == 1 {
		return Placement{Global: true}
	}
	region := Region{Kind: RegionKind(d.variant(uint32(RegionCustom) + 1))}
	if region.Kind == RegionCustom {
		region.Custom = d.str()
	}
	return Placement{Region: region}
}
