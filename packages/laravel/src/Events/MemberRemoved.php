<?php

namespace Clarim\Laravel\Events;

/** A user has left a presence channel. */
class MemberRemoved
{
    public function __construct(public readonly string $channel, public readonly string $userId)
    {
    }
}
