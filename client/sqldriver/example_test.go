package sqldriver_test

import (
	"database/sql"
	"fmt"
	"log"

	_ "github.com/kimberlitedb/kimberlite-go/client/sqldriver"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
)

func Example() {
	addr, stop := hosttest.Example() // stands for a server that runs elsewhere
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
