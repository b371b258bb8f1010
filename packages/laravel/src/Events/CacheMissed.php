<?php

namespace Clarim\Laravel\Events;

/** A client has subscribed to a cache channel without an event. */
class CacheMissed
{
    public function __construct(public readonly string $channel)
    {
    }
}
