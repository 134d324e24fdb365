package client

import (
	"context"
	"iter"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// TenantInfo describes a tenant.
type TenantInfo struct {
	ID       TenantID
	Name     string
	Created  time.Time
	Streams  int
	Position Position // of the last entry of its log
}

// CreateTenant makes a tenant. Making it again under the same name changes nothing.
func (c *Client) CreateTenant(ctx context.Context, id TenantID, name string) error {
	if err := checkName("tenant", name); err != nil {
		return err
	}
	_, err := c.start(ctx, id, &wire.CreateTenant{Name: name}).wait(ctx)
	return err
}

// Tenants lists the tenants in the order of their ids, page by page. An error ends the list.
func (c *Client) Tenants(ctx context.Context) iter.Seq2[TenantInfo, error] {
	return func(yield func(TenantInfo, error) bool) {
		ask := &wire.ListTenants{}
		for more := true; more; {
			reply, err := c.do(ctx, ask)
			if err != nil {
				yield(TenantInfo{}, err)
				return
			}
			page := reply.(*wire.ListTenantsReply)
			for _, t := range page.Tenants {
				info := TenantInfo{ID: t.Tenant, Name: t.Name, Created: instant(t.Created), Streams: int(t.Streams), Position: t.Position}
				if !yield(info, nil) {
					return
				}
			}
			if more = page.More && len(page.Tenants) > 0; more {
				ask = &wire.ListTenants{After: page.Tenants[len(page.Tenants)-1].Tenant}
			}
		}
	}
}
