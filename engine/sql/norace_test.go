//go:build !race

package sql_test

const raced = false
