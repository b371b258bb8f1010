<?php

namespace Clarim\Laravel;

use RuntimeException;

/** Asks the server whether it responds. */
class Health
{
    public function __construct(private array $options)
    {
    }

    public function url(): string
    {
        $scheme = $this->options['scheme'] ?? 'https';
        $port = $this->options['port'] ?? ($scheme === 'https' ? 443 : 80);

        return sprintf('%s://%s:%s/up', $scheme, $this->options['host'] ?? '127.0.0.1', $port);
    }

    /** @throws RuntimeException if it does not. */
    public function check(): void
    {
        $context = stream_context_create(['http' => ['timeout' => 3]]);
        if (@file_get_contents($this->url(), false, $context) === false) {
            throw new RuntimeException("Clarim does not respond at {$this->url()}. Start it: php artisan clarim:start");
        }
    }
}
