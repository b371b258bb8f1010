<?php

// The server refuses unknown variables that begin with CLARIM_, so those of this package begin with LARAVEL_.
return [

    // The program. Without it: the one that `clarim:install` has downloaded, else the one in PATH.
    'program' => env('LARAVEL_CLARIM_PROGRAM'),

    // Where releases are downloaded from.
    'releases' => env('LARAVEL_CLARIM_RELEASES', 'https://github.com/clarim/clarim/releases'),

    // The route for webhooks. Set it to null to have none.
    'webhooks' => 'clarim/webhooks',

    // Whether Laravel's own health check (`/up`) fails while the server does not respond.
    'health' => false,

];
