package wire

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

func appendU16(dst []byte, v uint16) []byte { return binary.LittleEndian.AppendUint16(dst, v) }

func appendU32(dst []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(dst, v) }

func appendNumber[T number](dst []byte, v T) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(v))
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendCount(dst []byte, n int) []byte { return appendNumber(dst, uint64(n)) }

// appendBytes appends a String or a Vec<u8>.
func appendBytes[T ~string | ~[]byte](dst []byte, v T) []byte {
	return append(appendCount(dst, len(v)), v...)
}

func appendStrings(dst []byte, v []string) []byte {
	dst = appendCount(dst, len(v))
	for _, s := range v {
		dst = appendBytes(dst, s)
	}
	return dst
}

func appendNumbers[T number](dst []byte, v []T) []byte {
	dst = appendCount(dst, len(v))
	for _, n := range v {
		dst = appendNumber(dst, n)
	}
	return dst
}

func appendOptNumber[T number](dst []byte, o Option[T]) []byte {
	dst = appendBool(dst, o.Set)
	if o.Set {
		dst = appendNumber(dst, o.Value)
	}
	return dst
}

func appendOptU32(dst []byte, o Option[uint32]) []byte {
	dst = appendBool(dst, o.Set)
	if o.Set {
		dst = appendU32(dst, o.Value)
	}
	return dst
}

func appendOptKey(dst []byte, o Option[Key]) []byte {
	dst = appendBool(dst, o.Set)
	if o.Set {
		dst = append(dst, o.Value[:]...)
	}
	return dst
}

func appendOptStr(dst []byte, o Option[string]) []byte {
	if dst = appendBool(dst, o.Set); o.Set {
		dst = appendBytes(dst, o.Value)
	}
	return dst
}

func appendPlacement(dst []byte, p Placement) []byte {
	if p.Global {
		return appendU32(dst, 1)
	}
	dst = appendU32(dst, 0)
	dst = appendU32(dst, uint32(p.Region.Kind))
	if p.Region.Kind == RegionCustom {
		dst = appendBytes(dst, p.Region.Custom)
	}
	return dst
}

func appendValues(dst []byte, values []Value, f Features) []byte {
	dst = appendCount(dst, len(values))
	for i := range values {
		dst = appendValue(dst, &values[i], f)
	}
	return dst
}

func appendValue(dst []byte, v *Value, f Features) []byte {
	if !f.TypedValues && v.Kind >= Double {
		return appendUntyped(dst, v)
	}
	dst = appendU32(dst, uint32(v.Kind))
	switch v.Kind {
	case Null:
		return dst
	case BigInt, Timestamp:
		return appendNumber(dst, v.Int)
	case Text:
		return appendBytes(dst, v.Text)
	case Boolean:
		return appendBool(dst, v.Int != 0)
	case Double:
		return appendNumber(dst, math.Float64bits(v.Float))
	case Bytes:
		return appendBytes(dst, v.Bytes)
	}
	panic(fmt.Sprintf("wire: value of kind %d", v.Kind))
}

// appendUntyped appends a value of a kind that the other side does not know, as Text.
func appendUntyped(dst []byte, v *Value) []byte {
	dst = appendU32(dst, uint32(Text))
	switch v.Kind {
	case Double:
		return appendBytes(dst, doubleText(v.Float))
	case Bytes:
		dst = appendCount(dst, base64.StdEncoding.EncodedLen(len(v.Bytes)))
		return base64.StdEncoding.AppendEncode(dst, v.Bytes)
	}
	panic(fmt.Sprintf("wire: value of kind %d", v.Kind))
}

// doubleText returns v in SQL notation: the fewest digits that read back as v, with a point or an exponent so that they
// do not read back as an integer.
func doubleText(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}
