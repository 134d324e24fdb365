package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A consumer group may keep events in order that belong together. What they belong to is their key: a value in the data,
// found by a JSON Pointer (RFC 6901), or the first bytes of the data. A job finds the keys, since data may be large.

// badOrder says what is wrong with an order key, or nothing.
func badOrder(k wire.OrderKey) string {
	switch {
	case k.Kind == wire.OrderPrefix && (k.Bytes == 0 || k.Bytes > wire.MaxOrderPrefix):
		return fmt.Sprintf("the order key is a prefix of %d bytes; give 1 to %d", k.Bytes, wire.MaxOrderPrefix)
	case k.Kind == wire.OrderJSON && len(k.Path) > wire.MaxOrderPath:
		return fmt.Sprintf("the JSON pointer has %d bytes; at most %d are allowed", len(k.Path), wire.MaxOrderPath)
	case k.Kind == wire.OrderJSON && !strings.HasPrefix(k.Path, "/"):
		return fmt.Sprintf("%q is no JSON pointer to a value inside the data; give one such as \"/customer/id\"", k.Path)
	}
	return ""
}

func orderText(k wire.OrderKey) string {
	switch k.Kind {
	case wire.OrderJSON:
		return "json " + k.Path
	case wire.OrderPrefix:
		return fmt.Sprintf("prefix %d", k.Bytes)
	}
	return ""
}

// orderJob finds the keys of events.
type orderJob struct {
	order  wire.OrderKey
	events []wire.EncodedEvent
}

type orderResult struct{ keys []string }

// Run implements Job. It reads no file.
func (j orderJob) Run(seg.Files) any {
	keys := make([]string, len(j.events))
	path := pointer(j.order.Path)
	for i, e := range j.events {
		data := e.Decode().Data
		if j.order.Kind == wire.OrderPrefix {
			keys[i] = string(data[:min(len(data), int(j.order.Bytes))])
		} else {
			keys[i] = jsonKey(data, path)
		}
	}
	return orderResult{keys}
}

// pointer splits a JSON Pointer into its reference tokens.
func pointer(path string) []string {
	tokens := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, t := range tokens {
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	return tokens
}

// jsonKey returns the value at a place in JSON data, in its shortest form. It is empty where there is none, and for null.
func jsonKey(data []byte, path []string) string {
	value := json.RawMessage(data)
	for _, token := range path {
		value = member(value, token)
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber() // as it is written: 64 bits do not fit into a float
	if d.Decode(&v) != nil || v == nil {
		return ""
	}
	key, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(key)
}

// member returns an element of a JSON object or array, nil where there is none.
func member(value json.RawMessage, token string) json.RawMessage {
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) == nil {
		return object[token]
	}
	var array []json.RawMessage
	i, err := strconv.Atoi(token)
	if err != nil || json.Unmarshal(value, &array) != nil || i < 0 || i >= len(array) {
		return nil
	}
	return array[i]
}
