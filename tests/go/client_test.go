// Package clickhouse connects to the store as the ClickHouse plugin of Grafana does: the same library, both protocols,
// the user who can only read. What is asked comes from the Python test that starts this one.
package clickhouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// order is what the Python test wants to know; it lies in the file that CX_CLICKHOUSE_GO names.
type order struct {
	HTTP     string            `json:"http"`
	Native   string            `json:"native"`
	Database string            `json:"database"`
	User     string            `json:"user"`
	Password string            `json:"password"`
	Queries  map[string]string `json:"queries"`
	Level    float64           `json:"level"`
	Answers  uint64            `json:"answers"`
}

var protocols = map[string]clickhouse.Protocol{"native": clickhouse.Native, "http": clickhouse.HTTP}

func read(t *testing.T) order {
	t.Helper()
	name := os.Getenv("CX_CLICKHOUSE_GO")
	if name == "" {
		t.Fatal("CX_CLICKHOUSE_GO names no file: start this from tests/integration/test_clickhouse_go.py")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var wanted order
	if err := json.Unmarshal(text, &wanted); err != nil {
		t.Fatal(err)
	}
	return wanted
}

// open connects with the options that the plugin sets.
func open(t *testing.T, wanted order, protocol clickhouse.Protocol, password string) *sql.DB {
	t.Helper()
	address, compression := wanted.Native, clickhouse.CompressionLZ4
	if protocol == clickhouse.HTTP {
		address, compression = wanted.HTTP, clickhouse.CompressionGZIP
	}
	options := &clickhouse.Options{
		Addr:        []string{address},
		Auth:        clickhouse.Auth{Database: wanted.Database, Username: wanted.User, Password: password},
		Compression: &clickhouse.Compression{Method: compression},
		DialTimeout: 10 * time.Second,
		Protocol:    protocol,
		ReadTimeout: 60 * time.Second,
		Settings:    clickhouse.Settings{},
	}
	options.ClientInfo.Products = append(options.ClientInfo.Products, struct{ Name, Version string }{"grafana", "11.6.0"})
	db := clickhouse.OpenDB(options)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// deadline is what makes the library send max_execution_time, which a read-only user must be allowed to set.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return clickhouse.Context(ctx, clickhouse.WithUserLocation(time.FixedZone("Tehran", 12600)))
}

func both(t *testing.T, check func(t *testing.T, wanted order, protocol clickhouse.Protocol)) {
	t.Helper()
	wanted := read(t)
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) { check(t, wanted, protocol) })
	}
}

// rows reads everything into the types that the library proposes, as Grafana's frames are filled.
func rows(t *testing.T, db *sql.DB, query string) ([]string, [][]any) {
	t.Helper()
	answer, err := db.QueryContext(deadline(t), query)
	if err != nil {
		t.Fatalf("%v\n%s", err, query)
	}
	defer answer.Close()
	types, err := answer.ColumnTypes()
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(types))
	var all [][]any
	for answer.Next() {
		row := make([]any, len(types))
		for i, column := range types {
			row[i] = reflect.New(column.ScanType()).Interface()
		}
		if err := answer.Scan(row...); err != nil {
			t.Fatalf("%v\n%s", err, query)
		}
		all = append(all, row)
	}
	for i, column := range types {
		names[i] = column.DatabaseTypeName()
	}
	if err := answer.Err(); err != nil {
		t.Fatalf("%v\n%s", err, query)
	}
	return names, all
}

func TestHealthCheckAndSchema(t *testing.T) {
	both(t, func(t *testing.T, wanted order, protocol clickhouse.Protocol) {
		db := open(t, wanted, protocol, wanted.Password)
		if err := db.PingContext(deadline(t)); err != nil {
			t.Fatal(err)
		}
		for _, query := range []string{
			"SELECT version()",
			"SHOW DATABASES",
			"SHOW TABLES FROM `" + wanted.Database + "`",
			"DESC TABLE `" + wanted.Database + "`.`events`",
			"SELECT name, type, table FROM system.columns WHERE database = '" + wanted.Database + "'",
			"SELECT name FROM system.functions LIMIT 10",
		} {
			if _, found := rows(t, db, query); len(found) == 0 {
				t.Errorf("no answer: %s", query)
			}
		}
	})
}

func TestTypesOfAView(t *testing.T) {
	both(t, func(t *testing.T, wanted order, protocol clickhouse.Protocol) {
		db := open(t, wanted, protocol, wanted.Password)
		names, found := rows(t, db, wanted.Queries["view"])
		expected := "LowCardinality(String) Map(LowCardinality(String), String) DateTime('UTC') Nullable(Float64) UInt64 Nullable(Float64)"
		if got := strings.Join(names, " "); got != expected {
			t.Errorf("types are %s; expected %s", got, expected)
		}
		if len(found) != 1 {
			t.Fatalf("%d rows; expected one", len(found))
		}
		value, n := **found[0][3].(**float64), *found[0][4].(*uint64)
		if value != wanted.Level || n != wanted.Answers {
			t.Errorf("value %v of %d; expected %v of %d", value, n, wanted.Level, wanted.Answers)
		}
		if moment := *found[0][2].(*time.Time); moment.Unix() != 1772359200 {
			t.Errorf("time is %v", moment)
		}
		if missing := *found[0][5].(**float64); missing != nil {
			t.Errorf("what is not there is %v; expected nothing", *missing)
		}
	})
}

func TestParameters(t *testing.T) {
	both(t, func(t *testing.T, wanted order, protocol clickhouse.Protocol) {
		db := open(t, wanted, protocol, wanted.Password)
		var n uint64
		query := "SELECT n FROM kpi(kpi = {kpi:String}, from = '2026-03-01 00:00:00', to = '2026-03-02 00:00:00') WHERE by = {by:String}"
		row := db.QueryRowContext(deadline(t), query, clickhouse.Named("kpi", "csat"), clickhouse.Named("by", ""))
		if err := row.Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n != wanted.Answers {
			t.Errorf("n is %d; expected %d", n, wanted.Answers)
		}
	})
}

func TestPanels(t *testing.T) {
	both(t, func(t *testing.T, wanted order, protocol clickhouse.Protocol) {
		db := open(t, wanted, protocol, wanted.Password)
		for name, query := range wanted.Queries {
			if _, found := rows(t, db, query); len(found) == 0 && !strings.HasPrefix(name, "maybe ") {
				t.Errorf("%s: no rows\n%s", name, query)
			}
		}
	})
}

func TestAnswersOfManyBlocks(t *testing.T) {
	both(t, func(t *testing.T, wanted order, protocol clickhouse.Protocol) {
		db := open(t, wanted, protocol, wanted.Password)
		if _, found := rows(t, db, "SELECT number, toString(number) FROM numbers(200000)"); len(found) != 200000 {
			t.Errorf("%d rows; expected 200000", len(found))
		}
	})
}

func TestRefusals(t *testing.T) {
	both(t, func(t *testing.T, wanted order, protocol clickhouse.Protocol) {
		db := open(t, wanted, protocol, wanted.Password)
		for query, codes := range map[string][]string{
			"INSERT INTO kpis (id) SELECT 'x'":            {"code: 164", "code: 497"},
			"SELECT * FROM nowhere":                       {"code: 60"},
			"SELEC 1":                                     {"code: 62"},
			"SELECT throwIf(number = 3) FROM numbers(10)": {"code: 395"},
		} {
			_, err := db.ExecContext(deadline(t), query)
			if err == nil {
				answer, asked := db.QueryContext(deadline(t), query)
				err = asked
				if asked == nil {
					for answer.Next() {
						continue
					}
					err = errors.Join(answer.Err(), answer.Close())
				}
			}
			if err == nil {
				t.Errorf("not refused: %s", query)
				continue
			}
			told := strings.ToLower(err.Error())
			known := false
			for _, code := range codes {
				known = known || strings.Contains(told, code)
			}
			if !known {
				t.Errorf("%s: %v", query, err)
			}
		}
		if err := open(t, wanted, protocol, "wrong").PingContext(deadline(t)); err == nil {
			t.Error("a wrong password opens the store")
		}
	})
}
