//go:build race

package sql_test

const raced = true // the race detector is on
