// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Outage takes the API server away for a while. Watches break, as they do when its
// machine does.
func (s *Server) Outage(ctx context.Context, d time.Duration) error {
	api := s.ControlPlane.GetAPIServer()
	return interrupt(ctx, d, api.Stop, api.Start)
}

// EtcdOutage does the same to etcd, which keeps its data.
func (s *Server) EtcdOutage(ctx context.Context, d time.Duration) error {
	etcd := s.ControlPlane.Etcd
	return interrupt(ctx, d, etcd.Stop, etcd.Start)
}

func interrupt(ctx context.Context, d time.Duration, stop, start func() error) error {
	if err := stop(); err != nil && !onlyKilled(err) {
		return fmt.Errorf("stop: %w", err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	// A process that was just killed may still hold its port.
	var err error
	for range 10 {
		if err = start(); err == nil {
			return ctx.Err()
		}
		time.Sleep(200 * time.Millisecond)
	}
	return errors.Join(ctx.Err(), fmt.Errorf("start again: %w", err))
}
