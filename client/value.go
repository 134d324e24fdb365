package client

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"time"
	"unicode/utf8"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

var (
	timeType    = reflect.TypeFor[time.Time]()
	scannerType = reflect.TypeFor[sql.Scanner]()
)

// parameter makes a value of SQL of one of Go.
func parameter(a any) (wire.Value, error) {
	x, err := driver.DefaultParameterConverter.ConvertValue(a)
	if err != nil {
		return wire.Value{}, err
	}
	switch x := x.(type) {
	case nil:
		return wire.Value{Kind: wire.Null}, nil
	case int64:
		return wire.Value{Kind: wire.BigInt, Int: x}, nil
	case float64:
		return wire.Value{Kind: wire.Double, Float: x}, nil
	case bool:
		v := wire.Value{Kind: wire.Boolean}
		if x {
			v.Int = 1
		}
		return v, nil
	case string:
		if !utf8.ValidString(x) {
			return wire.Value{}, errors.New("the string is not UTF-8; give it as []byte")
		}
		return wire.Value{Kind: wire.Text, Text: x}, nil
	case []byte:
		return wire.Value{Kind: wire.Bytes, Bytes: x}, nil
	case time.Time:
		v := wire.Value{Kind: wire.Timestamp, Int: int64(clamped(x))}
		if !instant(wire.Time(v.Int)).Equal(x) {
			return wire.Value{}, fmt.Errorf("the time is in the year %d; %s", x.Year(), timeRange)
		}
		return v, nil
	}
	return wire.Value{}, fmt.Errorf("%T is no value of SQL", a)
}

// goValue makes a value of Go of one of SQL.
func goValue(v wire.Value) any {
	switch v.Kind {
	case wire.BigInt:
		return v.Int
	case wire.Double:
		return v.Float
	case wire.Boolean:
		return v.Int != 0
	case wire.Text:
		return v.Text
	case wire.Bytes:
		return v.Bytes
	case wire.Timestamp:
		return instant(wire.Time(v.Int))
	}
	return nil
}

// assign puts a value where a pointer points to, if it fits.
func assign(to any, v wire.Value) error {
	switch to := to.(type) {
	case *any:
		*to = goValue(v)
		return nil
	case sql.Scanner:
		return to.Scan(goValue(v))
	}
	p := reflect.ValueOf(to)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("%T is no pointer", to)
	}
	return set(p.Elem(), v)
}

// set puts a value into a variable, if it fits.
func set(x reflect.Value, v wire.Value) error {
	switch {
	case v.Kind == wire.Null && (x.Kind() == reflect.Pointer || x.Type() == reflect.TypeFor[[]byte]()):
		x.SetZero()
		return nil
	case v.Kind == wire.Null:
		return fmt.Errorf("NULL does not fit into %s; scan into a *%s", x.Type(), x.Type())
	case x.Kind() == reflect.Pointer:
		fresh := reflect.New(x.Type().Elem())
		if err := assign(fresh.Interface(), v); err != nil {
			return err
		}
		x.Set(fresh)
		return nil
	case x.Type() == timeType && v.Kind == wire.Timestamp:
		x.Set(reflect.ValueOf(instant(wire.Time(v.Int))))
		return nil
	}
	if setScalar(x, v) {
		return nil
	}
	return fmt.Errorf("%s %v does not fit into %s", v.Kind, goValue(v), x.Type())
}

// setScalar puts a value into a variable of a basic type, or of bytes, and reports whether it fits.
func setScalar(x reflect.Value, v wire.Value) bool {
	ok := false
	switch x.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if ok = v.Kind == wire.BigInt && !x.OverflowInt(v.Int); ok {
			x.SetInt(v.Int)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if ok = v.Kind == wire.BigInt && v.Int >= 0 && !x.OverflowUint(uint64(v.Int)); ok {
			x.SetUint(uint64(v.Int))
		}
	case reflect.Float32, reflect.Float64:
		f := v.Float
		if ok = v.Kind == wire.Double; v.Kind == wire.BigInt {
			f = float64(v.Int)
			ok = exact(f, v.Int) && (x.Kind() == reflect.Float64 || float64(float32(f)) == f)
		}
		if ok {
			x.SetFloat(f)
		}
	case reflect.Bool:
		if ok = v.Kind == wire.Boolean; ok {
			x.SetBool(v.Int != 0)
		}
	case reflect.String:
		if ok = v.Kind == wire.Text; ok {
			x.SetString(v.Text)
		}
	case reflect.Slice:
		if ok = x.Type().Elem().Kind() == reflect.Uint8 && (v.Kind == wire.Bytes || v.Kind == wire.Text); ok && v.Kind == wire.Text {
			x.SetBytes([]byte(v.Text))
		} else if ok {
			x.SetBytes(v.Bytes)
		}
	}
	return ok
}

// exact reports whether a float is the integer.
func exact(f float64, n int64) bool { return f >= -(1<<63) && f < 1<<63 && int64(f) == n }
