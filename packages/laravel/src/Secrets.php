<?php

namespace Clarim\Laravel;

use Illuminate\Contracts\Config\Repository;

/** The secrets of the application's apps. */
class Secrets
{
    public function __construct(private Repository $config)
    {
    }

    /** Whether a signature of a body is by the app with a key. */
    public function accept(string $key, string $body, string $signature): bool
    {
        $secret = $this->of($key);

        return $secret !== null && hash_equals(hash_hmac('sha256', $body, $secret), $signature);
    }

    private function of(string $key): ?string
    {
        $apps = $this->config->get('reverb.apps.apps') ?? [];
        $apps[] = $this->config->get('broadcasting.connections.reverb') ?? [];
        foreach ($apps as $app) {
            if ($key !== '' && ($app['key'] ?? null) === $key && ($app['secret'] ?? '') !== '') {
                return $app['secret'];
            }
        }

        return null;
    }
}
