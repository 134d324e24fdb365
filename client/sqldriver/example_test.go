package sqldriver_test

import (
	"database/sql"
	"fmt"
	"log"
	"os"

	_ "github.com/kimberlitedb/kimberlite-go/client/sqldriver"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
)

func Example() {
	dir, err := os.MkdirTemp("", "kimberlite")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	addr, stop, err := hosttest.Start(dir) // stands for a server that runs elsewhere
	if err != nil {
		log.Fatal(err)
	}
	defer stop()

	db, err := sql.Open("kimberlite", "kimberlite://"+addr)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE accounts (id INTEGER PRIMARY KEY, owner TEXT)"); err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO accounts VALUES ($1, $2)", 7, "Ada"); err != nil {
		log.Fatal(err)
	}
	var owner string
	if err := db.QueryRow("SELECT owner FROM accounts WHERE id = $1", 7).Scan(&owner); err != nil {
		log.Fatal(err)
	}
	fmt.Println(owner)
	// Output: Ada
}
