# Sourced by train_*.sh and decode_*.sh: what RECIPE stands for, and the base.
#   default  alpha = 128, so scale alpha/r = 32
#   paper    alpha = 32, so scale 8, and the best epoch by validation, as Hu et al. 2021 describe their runs
#   readme   alpha = 32, the last epoch, and length penalty 0.8 on E2E, as the predecessor's README runs it
case ${RECIPE:=default} in
  default) ALPHA=128 CHOSEN= E2E_PENALTY=0.9 ;;
  paper) ALPHA=32 CHOSEN=/best E2E_PENALTY=0.9 ;;
  readme) ALPHA=32 CHOSEN= E2E_PENALTY=0.8 ;;
  *) echo "RECIPE must be default, paper or readme, got $RECIPE" >&2; exit 2 ;;
esac
# BASE alone is any GPT-2 with its config.json; MODEL alone is a released size.
if [ -z "${BASE:-}" ]; then BASE=pretrained/${MODEL:=gpt2.md}; fi
# 2e-4 is the paper's, made for GPT-2 M at scale 8. The nano base wants more, and less at scale 32 than at scale 8:
# docs/reproduction.md has the sweep.
case ${MODEL:-}-$ALPHA in
  gpt2.nano-128) LR=1e-3 ;;
  gpt2.nano-32) LR=2e-3 ;;
  *) LR=2e-4 ;;
esac
