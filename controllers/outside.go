// SPDX-License-Identifier: Apache-2.0

package controllers

import "github.com/sfunnel-io/funnel-operator/internal/inject"

// InjectOptions is PodWebhookOptions.Inject by a name that other modules can use.
type InjectOptions = inject.Options
