<#
.SYNOPSIS
    Points this Lync Server or Skype for Business Server organization at a push relay, or takes that back.

.DESCRIPTION
    Looks at the present configuration, says what stands in the way, prints each command that it is going to run, asks, saves
    what was there before, and runs it. With -WhatIf it only looks and prints. With -Undo it takes back what it did itself,
    newest first, and leaves alone what somebody has changed since.

    It adds entries and changes four settings (AllowFederatedUsers, the two push switches, PushNotificationProxyUri). It never
    changes or removes an entry that it did not make: where one is in the way, it says which and stops.

    Run it in the Lync Server (Skype for Business Server) Management Shell, on a server of the domain, as a member of
    RTCUniversalServerAdmins. Written for PowerShell 2.0. Never run against a real server: read README.md.

.PARAMETER As
    OwnDomain        the recommended way: own push domain, relay named as that domain's Access Edge (own-domain.md)
    HostingProvider  own push domain, relay entered as a hosting provider (hosting-provider.md)
    OcsEdge          the Edge is an Office Communications Server 2007 R2 one and gets its entry by hand (ocs-2007-r2.md)
    DropIn           the relay stands in for push.lync.com in a closed network (drop-in.md)

.PARAMETER PushUri
    Where the Mobility Service is to send, such as sip:push@push.example.org. Not for DropIn.

.PARAMETER RelayFqdn
    The host name in the relay's certificate, such as relay.push.example.org. Not for DropIn.

.PARAMETER ProviderName
    What the hosting provider is called here.

.PARAMETER Platforms
    Whose push notifications to switch on: Apple, WindowsPhone or both.

.PARAMETER SaveIn
    The folder that keeps what was there before. -Undo reads journal.xml there.

.EXAMPLE
    .\Connect-PushRelay.ps1 -As OwnDomain -PushUri sip:push@push.example.org -RelayFqdn relay.push.example.org -WhatIf

.EXAMPLE
    .\Connect-PushRelay.ps1 -Undo
#>
#requires -version 2.0
[CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'High', DefaultParameterSetName = 'Connect')]
param(
    [Parameter(Mandatory = $true, ParameterSetName = 'Connect')]
    [ValidateSet('OwnDomain', 'HostingProvider', 'OcsEdge', 'DropIn')]
    [string] $As,

    [Parameter(ParameterSetName = 'Connect')]
    [string] $PushUri,

    [Parameter(ParameterSetName = 'Connect')]
    [string] $RelayFqdn,

    [Parameter(ParameterSetName = 'Connect')]
    [string] $ProviderName = 'PushRelay',

    [Parameter(ParameterSetName = 'Connect')]
    [ValidateSet('Apple', 'WindowsPhone')]
    [string[]] $Platforms = @('Apple', 'WindowsPhone'),

    [Parameter(Mandatory = $true, ParameterSetName = 'Undo')]
    [switch] $Undo,

    [string] $SaveIn = (Join-Path $env:ProgramData 'PushRelay')
)

$ErrorActionPreference = 'Stop'
$Journal = Join-Path $SaveIn 'journal.xml'

function Import-LyncModule {
    foreach ($module in @('SkypeForBusiness', 'Lync')) {
        if (Get-Command 'Get-CsAccessEdgeConfiguration' -ErrorAction SilentlyContinue) { return }
        if (Get-Module -ListAvailable -Name $module) { Import-Module $module }
    }
    $needed = @('Get-CsAccessEdgeConfiguration', 'Get-CsMcxConfiguration', 'Get-CsPushNotificationConfiguration')
    foreach ($name in $needed) {
        if (-not (Get-Command $name -ErrorAction SilentlyContinue)) {
            throw ("$name is not here. Run this in the Lync Server (Skype for Business Server) Management Shell; Lync Server 2010 " +
                'needs the cumulative update of November 2011 or later. Skype for Business Server 2019 has no Mobility Service (MCX).')
        }
    }
}

# ---- what stands in the way ----------------------------------------------------------------------------------------------

function New-Finding([string] $Level, [string] $Text) {
    New-Object PSObject -Property @{ Level = $Level; Text = $Text }
}

# The traps of federation by this shape. Stop: it would fail or do harm. Warning: pushes will not arrive until it is put right.
function Find-Trap([string] $Shape, [string] $Domain, [string] $Relay, [string] $Provider) {
    $byProvider = ($Shape -eq 'HostingProvider') -or ($Shape -eq 'DropIn')

    if (@(Get-CsSipDomain | Where-Object { "$($_.Identity)" -eq $Domain }).Count -gt 0) {
        New-Finding 'Stop' ("$Domain is one of this organization's own SIP domains, so requests for it never reach the Edge. " +
            'Choose a push domain of its own, such as push.example.org.')
    }
    if (@(Get-CsBlockedDomain | Where-Object { "$($_.Identity)" -eq $Domain }).Count -gt 0) {
        New-Finding 'Stop' "$Domain is on the blocked list: Remove-CsBlockedDomain -Identity $Domain"
    }

    $edge = Get-CsAccessEdgeConfiguration
    $defaultRoute = ("$($edge.RoutingMethod)" -eq 'UseDefaultRouting') -or ("$($edge.DefaultRouteFqdn)" -ne '')
    if ($defaultRoute -and $byProvider) {
        New-Finding 'Stop' 'The Edges use default routing, and then there can be no hosting provider. Use -As OwnDomain.'
    }
    if ($defaultRoute -and -not $byProvider) {
        New-Finding 'Warning' 'The Edges use default routing: everything goes to the default route, which must know the push domain.'
    }

    if ($Shape -ne 'OcsEdge') {
        Find-EntryTrap $byProvider $Domain $Relay $Provider
        if (@(Get-CsService -EdgeServer).Count -eq 0) {
            New-Finding 'Warning' 'The topology has no Edge Server of Lync. For an OCS 2007 R2 Edge use -As OcsEdge.'
        }
    }

    foreach ($filter in @(Get-CsImFilterConfiguration)) {
        $inTheWay = @($filter.Prefixes | Where-Object { $_ -match '^https?:' })
        $idle = (-not $filter.Enabled) -or (("$($filter.Action)" -eq 'Warn') -and ("$($filter.WarnMessage)" -eq ''))
        if (($inTheWay.Count -eq 0) -or $idle) { continue }
        if ("$($filter.Action)" -eq 'Block') {
            $effect = 'refuses pushes ("Push Notification request was rejected")'
        } else {
            $effect = 'alters the text of pushes (_http://..., a notice in front)'
        }
        $remedies = @($inTheWay | ForEach-Object {
                "Set-CsImFilterConfiguration -Identity `"$($filter.Identity)`" -Prefixes @{remove=`"$_`"}"
            })
        New-Finding 'Warning' ("The IM URL filter $($filter.Identity) $effect. It also protects your users' messages, so this script " +
            'leaves it alone. To let pushes through: ' + [string]::Join('; ', [string[]] $remedies))
    }
}

# Traps in the lists of providers and allowed domains.
function Find-EntryTrap([bool] $ByProvider, [string] $Domain, [string] $Relay, [string] $Provider) {
    $hosting = @(Get-CsHostingProvider)
    $public = @(Get-CsPublicProvider)

    foreach ($other in ($hosting + $public)) {
        $sameName = "$($other.Identity)" -eq $Provider
        $sameRelay = "$($other.ProxyFqdn)" -eq $Relay
        if ($sameRelay -and -not $ByProvider) {
            New-Finding 'Stop' ("$Relay is the ProxyFqdn of the provider $($other.Identity). Entered as a partner's Access Edge too, it " +
                'keeps the Access Edge service from starting (event 14517, Lync Server 2013 CU3 and later). Use -As HostingProvider, ' +
                "or first: Remove-CsHostingProvider -Identity `"$($other.Identity)`"")
        }
        if ($ByProvider -and $sameRelay -and -not $sameName) {
            New-Finding 'Stop' ("The provider $($other.Identity) has the ProxyFqdn $Relay already, and only one may. Use " +
                "-ProviderName `"$($other.Identity)`" if that is the relay.")
        }
        if ($ByProvider -and $sameName -and -not $sameRelay) {
            New-Finding 'Stop' ("The provider $Provider exists with the ProxyFqdn $($other.ProxyFqdn), which cannot be changed. Choose " +
                'another -ProviderName, or remove that provider first.')
        }
        if ($ByProvider -and $sameName -and $sameRelay) {
            if (-not $other.Enabled) {
                New-Finding 'Stop' "The provider $Provider is disabled: Enable-CsHostingProvider -Identity `"$Provider`""
            }
            if ("$($other.VerificationLevel)" -ne 'AlwaysVerifiable') {
                New-Finding 'Warning' ("The provider $Provider has VerificationLevel $($other.VerificationLevel); hosting-provider.md says " +
                    'why AlwaysVerifiable is the one to use.')
            }
        }
    }

    foreach ($allowed in @(Get-CsAllowedDomain)) {
        $theirs = "$($allowed.ProxyFqdn)"
        $same = "$($allowed.Identity)" -eq $Domain
        if ($ByProvider -and ($theirs -eq $Relay)) {
            New-Finding 'Stop' ("The allowed domain $($allowed.Identity) names $Relay as its Access Edge. Together with a hosting provider " +
                'of that name the Access Edge service does not start (event 14517, Lync Server 2013 CU3 and later). First: ' +
                "Remove-CsAllowedDomain -Identity $($allowed.Identity)")
        } elseif ($same -and $ByProvider -and ($theirs -ne '')) {
            New-Finding 'Stop' "The allowed domain $Domain names $theirs as its Access Edge; with a hosting provider it must name none."
        } elseif ($same -and (-not $ByProvider) -and ($theirs -ne $Relay)) {
            New-Finding 'Stop' ("The allowed domain $Domain exists with the Access Edge '$theirs', not $Relay. If nobody needs it: " +
                "Remove-CsAllowedDomain -Identity $Domain")
        }
    }
    if ($ByProvider) {
        New-Finding 'Note' ("The Edge finds the provider through DNS: the SRV record _sipfederationtls._tcp.$Domain, as the Edge sees " +
            "it, must name $Relay, port 5061.")
    }
}

# ---- what to do ----------------------------------------------------------------------------------------------------------

# One command: what it is called with, and what undoing it needs.
function New-Step([string] $Cmdlet, [hashtable] $With, $Before) {
    $words = @($Cmdlet)
    foreach ($name in @($With.Keys | Sort-Object)) {
        $value = $With[$name]
        if ($value -is [bool]) { $words += "-$name `$$value" } else { $words += "-$name `"$value`"" }
    }
    New-Object PSObject -Property @{
        Cmdlet = $Cmdlet; With = $With; Before = $Before; Text = [string]::Join(' ', [string[]] $words); Time = (Get-Date).ToString('s')
    }
}

function Get-Plan([string] $Shape, [string] $Uri, [string] $Domain, [string] $Relay, [string] $Provider, [string[]] $On) {
    $byProvider = ($Shape -eq 'HostingProvider') -or ($Shape -eq 'DropIn')
    if ($byProvider -and (@(Get-CsHostingProvider | Where-Object { "$($_.Identity)" -eq $Provider }).Count -eq 0)) {
        New-Step 'New-CsHostingProvider' @{
            Identity = $Provider; ProxyFqdn = $Relay; Enabled = $true; VerificationLevel = 'AlwaysVerifiable'
            EnabledSharedAddressSpace = $false; HostsOCSUsers = $false
        } $null
    }
    if (($Shape -ne 'OcsEdge') -and (@(Get-CsAllowedDomain | Where-Object { "$($_.Identity)" -eq $Domain }).Count -eq 0)) {
        $with = @{ Identity = $Domain; Comment = 'push relay' }
        if (-not $byProvider) { $with['ProxyFqdn'] = $Relay }
        # Per domain only since Skype for Business Server 2015.
        if ((Get-Command New-CsAllowedDomain).Parameters.ContainsKey('VerificationLevel')) {
            $with['VerificationLevel'] = 'AlwaysVerifiable'
        }
        New-Step 'New-CsAllowedDomain' $with $null
    }
    if (-not (Get-CsAccessEdgeConfiguration).AllowFederatedUsers) {
        New-Step 'Set-CsAccessEdgeConfiguration' @{ AllowFederatedUsers = $true } @{ AllowFederatedUsers = $false }
    }
    foreach ($mcx in @(Get-CsMcxConfiguration)) {
        if ("$($mcx.PushNotificationProxyUri)" -eq $Uri) { continue }
        New-Step 'Set-CsMcxConfiguration' @{ Identity = "$($mcx.Identity)"; PushNotificationProxyUri = $Uri } @{
            PushNotificationProxyUri = "$($mcx.PushNotificationProxyUri)"
        }
    }
    # Last: pushes begin only when their way is there.
    foreach ($push in @(Get-CsPushNotificationConfiguration)) {
        $with = @{}
        $before = @{}
        foreach ($platform in $On) {
            if ($platform -eq 'Apple') { $setting = 'EnableApplePushNotificationService' }
            if ($platform -eq 'WindowsPhone') { $setting = 'EnableMicrosoftPushNotificationService' }
            if (-not $push.$setting) {
                $with[$setting] = $true
                $before[$setting] = $false
            }
        }
        if ($with.Count -eq 0) { continue }
        $with['Identity'] = "$($push.Identity)"
        New-Step 'Set-CsPushNotificationConfiguration' $with $before
    }
}

function Invoke-Cmdlet([string] $Cmdlet, [hashtable] $With) {
    switch ($Cmdlet) {
        'New-CsHostingProvider' {
            New-CsHostingProvider @With -Confirm:$false | Out-Null
        }
        'Remove-CsHostingProvider' {
            Remove-CsHostingProvider @With -Confirm:$false
        }
        'New-CsAllowedDomain' {
            New-CsAllowedDomain @With -Confirm:$false | Out-Null
        }
        'Remove-CsAllowedDomain' {
            Remove-CsAllowedDomain @With -Confirm:$false
        }
        'Set-CsAccessEdgeConfiguration' {
            Set-CsAccessEdgeConfiguration @With -Confirm:$false
        }
        'Set-CsMcxConfiguration' {
            Set-CsMcxConfiguration @With -Confirm:$false
        }
        'Set-CsPushNotificationConfiguration' {
            Set-CsPushNotificationConfiguration @With -Confirm:$false
        }
        default {
            throw "$Cmdlet is not a cmdlet that this script runs; was $Journal edited?"
        }
    }
}

# ---- what was there before -----------------------------------------------------------------------------------------------

function Read-Journal {
    if (Test-Path $Journal) { @(Import-Clixml $Journal) }
}

function Write-Journal([object[]] $Steps) {
    if (-not (Test-Path $SaveIn)) { New-Item -ItemType Directory -Path $SaveIn -Confirm:$false | Out-Null }
    $Steps | Export-Clixml -Path $Journal -Depth 4 -Confirm:$false
}

# For people: everything that the steps touch, as it is now.
function Save-Everything {
    $file = Join-Path $SaveIn ('before-' + (Get-Date).ToString('yyyyMMdd-HHmmss') + '.txt')
    $text = @()
    $text += Get-CsHostingProvider | Format-List * | Out-String -Width 200
    $text += Get-CsAllowedDomain | Format-List * | Out-String -Width 200
    $text += Get-CsAccessEdgeConfiguration | Format-List * | Out-String -Width 200
    $text += Get-CsMcxConfiguration | Format-List * | Out-String -Width 200
    $text += Get-CsPushNotificationConfiguration | Format-List * | Out-String -Width 200
    Set-Content -Path $file -Value $text -Confirm:$false
    Write-Host "Saved what is there now: $file"
}

# The command that takes a step back, or nothing, with a word on why, when there is nothing of ours to take back.
function Get-Reverse($Step) {
    $identity = $Step.With['Identity']
    switch ($Step.Cmdlet) {
        'New-CsHostingProvider' {
            $now = @(Get-CsHostingProvider | Where-Object { "$($_.Identity)" -eq $identity })
            if (($now.Count -gt 0) -and ("$($now[0].ProxyFqdn)" -eq $Step.With['ProxyFqdn'])) {
                return New-Step 'Remove-CsHostingProvider' @{ Identity = $identity } $null
            }
        }
        'New-CsAllowedDomain' {
            $now = @(Get-CsAllowedDomain | Where-Object { "$($_.Identity)" -eq $identity })
            if (($now.Count -gt 0) -and ("$($now[0].ProxyFqdn)" -eq "$($Step.With['ProxyFqdn'])")) {
                return New-Step 'Remove-CsAllowedDomain' @{ Identity = $identity } $null
            }
        }
        'Set-CsAccessEdgeConfiguration' {
            if ((Get-CsAccessEdgeConfiguration).AllowFederatedUsers) {
                Write-Warning 'Federation was off before. Say no if somebody else has come to rely on it.'
                return New-Step 'Set-CsAccessEdgeConfiguration' $Step.Before $null
            }
        }
        'Set-CsMcxConfiguration' {
            $now = @(Get-CsMcxConfiguration | Where-Object { "$($_.Identity)" -eq $identity })
            if (($now.Count -gt 0) -and ("$($now[0].PushNotificationProxyUri)" -eq $Step.With['PushNotificationProxyUri'])) {
                $back = $Step.Before['PushNotificationProxyUri']
                if ($back -ne '') {
                    return New-Step 'Set-CsMcxConfiguration' @{ Identity = $identity; PushNotificationProxyUri = $back } $null
                }
                Write-Warning "PushNotificationProxyUri of $identity was empty before; set it by hand if you want that back."
                return
            }
        }
        'Set-CsPushNotificationConfiguration' {
            $now = @(Get-CsPushNotificationConfiguration | Where-Object { "$($_.Identity)" -eq $identity })
            $with = @{}
            foreach ($setting in @($Step.Before.Keys)) {
                if (($now.Count -gt 0) -and $now[0].$setting) { $with[$setting] = $false }
            }
            if ($with.Count -gt 0) {
                $with['Identity'] = $identity
                return New-Step 'Set-CsPushNotificationConfiguration' $with $null
            }
        }
    }
    Write-Host "Left alone, it is no longer as this script made it: $($Step.Text)"
}

function Undo-Connect {
    $steps = @(Read-Journal)
    if ($steps.Count -eq 0) {
        Write-Host "Nothing to undo: there is no $Journal"
        return
    }
    $kept = @()
    for ($at = $steps.Count - 1; $at -ge 0; $at--) {
        $reverse = Get-Reverse $steps[$at]
        if (-not $reverse) { continue }
        Write-Host "Undo: $($reverse.Text)"
        if ($PSCmdlet.ShouldProcess('this organization', $reverse.Text)) {
            Invoke-Cmdlet $reverse.Cmdlet $reverse.With
        } else {
            $kept = @($steps[$at]) + $kept
        }
    }
    if ($WhatIfPreference) { return }
    $done = $Journal + '.undone-' + (Get-Date).ToString('yyyyMMdd-HHmmss')
    Move-Item -Path $Journal -Destination $done -Confirm:$false
    if ($kept.Count -gt 0) { Write-Journal $kept }
    Write-Host "Kept for the record: $done. Steps that you did not want undone: $($kept.Count)."
}

# ---- the way through -----------------------------------------------------------------------------------------------------

Import-LyncModule

if ($Undo) {
    Undo-Connect
    return
}

if ($As -eq 'DropIn') {
    if ($PushUri -or $RelayFqdn) { throw 'DropIn keeps the names of push.lync.com: leave -PushUri and -RelayFqdn out.' }
    $PushUri = 'sip:push@push.lync.com'
    $RelayFqdn = 'sipfed.online.lync.com'
    $present = @(Get-CsHostingProvider | Where-Object { "$($_.ProxyFqdn)" -eq $RelayFqdn })
    if ($present.Count -gt 0) { $ProviderName = "$($present[0].Identity)" }
}
$RelayFqdn = $RelayFqdn.ToLower()
if (-not ($PushUri -match '^sip:[a-z0-9._-]+@([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+)$')) {
    throw "-PushUri must be a SIP URI with a user and a domain and nothing else, such as sip:push@push.example.org; it is '$PushUri'."
}
$pushDomain = $Matches[1].ToLower()
if (($As -ne 'OcsEdge') -and -not ($RelayFqdn -match '^[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z][a-z0-9-]*$')) {
    throw "-RelayFqdn must be a full host name, such as relay.push.example.org; it is '$RelayFqdn'."
}

$findings = @(Find-Trap $As $pushDomain $RelayFqdn $ProviderName)
foreach ($finding in $findings) { Write-Host "$($finding.Level): $($finding.Text)" }
if (@($findings | Where-Object { $_.Level -eq 'Stop' }).Count -gt 0) {
    throw 'Stopped before anything was changed: see the lines that begin with Stop.'
}

$plan = @(Get-Plan $As $PushUri $pushDomain $RelayFqdn $ProviderName $Platforms)
if ($plan.Count -eq 0) {
    Write-Host 'Everything is there already; nothing to do.'
    return
}
Write-Host ''
Write-Host 'This will be run, in this order:'
foreach ($step in $plan) {
    Write-Host "  $($step.Text)"
    if ($step.Before) {
        foreach ($name in @($step.Before.Keys)) { Write-Host "      now: $name = $($step.Before[$name])" }
    }
}
Write-Host ''

if (-not $WhatIfPreference) {
    if (-not (Test-Path $SaveIn)) { New-Item -ItemType Directory -Path $SaveIn -Confirm:$false | Out-Null }
    Save-Everything
}
$steps = @(Read-Journal)
foreach ($step in $plan) {
    if (-not $PSCmdlet.ShouldProcess('this organization', $step.Text)) { continue }
    # Before the command, so that what a failure leaves half done can be undone too.
    $steps += $step
    Write-Journal $steps
    Invoke-Cmdlet $step.Cmdlet $step.With
    Write-Host "Done: $($step.Text)"
}

if (-not $WhatIfPreference) {
    Write-Host ''
    Write-Host 'The Edge learns of this when the Central Management store has been replicated. Next:'
    Write-Host '  .\Test-PushRelay.ps1'
    Write-Host 'To take it back: .\Connect-PushRelay.ps1 -Undo'
}
